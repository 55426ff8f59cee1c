"""Writes what the images install, as lists that change only when their contents do: a layer is built anew when a file
that it is made of has changed, and pyproject.toml changes for many reasons.

    python image_requirements.py FOLDER EXTRA,EXTRA...

It reads pyproject.toml and constraints.txt in the working folder, and writes

service.txt      what the service and decide workers need, with traces
worker.txt       what the extras need
torch.txt        torch and what it needs, pinned: gigabytes that change least often
constraints.txt  all pins
"""

import re
import shutil
import sys
import tomllib
from pathlib import Path

TORCH = (
    "torch", "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "setuptools", "sympy",
    "typing_extensions",
)  # fmt: skip
"""By the names that constraints.txt has, in lower case. CUDA's libraries are pinned by torch itself."""

DECIDE = ["psutil"]
"""What decide workers import and the service does not; both are in one image. The constraints pin it."""


def main(folder: Path, extras: list[str]) -> None:
    """Writes the lists."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    optional = project["optional-dependencies"]
    write(folder / "service.txt", project["dependencies"] + optional["service"] + optional["otel"] + DECIDE)
    write(folder / "worker.txt", project["dependencies"] + [need for extra in extras for need in optional[extra]])
    write(folder / "torch.txt", [pin for pin in pins if re.split("==", pin.lower())[0] in TORCH])
    shutil.copy("constraints.txt", folder)


def write(path: Path, requirements: list[str]) -> None:
    """One to a line."""
    path.write_text("".join(f"{requirement}\n" for requirement in sorted(set(requirements))), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","))
