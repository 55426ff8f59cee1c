"""What `pip install congrad-filter` brings."""

from importlib.metadata import Distribution, distribution
from pathlib import Path

import congrad
from packaging.requirements import Requirement

HEAVY = {"torch", "transformers", "numpy", "fastapi", "celery", "redis", "pyarrow", "datasets"}


def brought_by(name: str) -> dict[str, Distribution]:
    """The distributions that a base install of one brings, by name."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop().lower().replace("_", "-")
        if current not in found:
            found[current] = distribution(current)
            requirements = map(Requirement, found[current].requires or [])
            waiting += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def files_size(folder: Path) -> int:
    """Bytes of the files below a folder; bytecode is pip's own."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def test_a_base_install_is_light() -> None:
    found = brought_by("congrad-filter")
    assert not found.keys() & HEAVY
    own = found.pop("congrad-filter")
    assert own.metadata["Name"] == "congrad-filter"
    root = Path(congrad.__file__).parents[2]
    packages = [root / "client" / "congrad", root / "service" / "congrad_service", root / "worker" / "congrad_worker"]
    sizes = [file.size or 0 for d in found.values() for file in d.files or [] if file.suffix != ".pyc"]
    assert 10e6 < sum(sizes) + sum(map(files_size, packages)) < 30e6
