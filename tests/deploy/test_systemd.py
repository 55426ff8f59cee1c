"""The systemd units: valid, at one with the program, and shut off from what they do not need."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from congrad_service.__main__ import DRAIN_S
from congrad_service.settings import ServiceSettings
from congrad_worker.processes.celery_app import SOFT_SHUTDOWN_S
from congrad_worker.settings import DecideSettings, GradientSettings

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = {
    "congrad-service.service": "congrad_service",
    "congrad-decide.service": "congrad_worker decide",
    "congrad-gradients@.service": "congrad_worker gradients",
}
PYTHON = "/opt/congrad/bin/python"
EXPOSURE = 40
"""`systemd-analyze security` gives from 0, nothing is exposed, to 100."""

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd here")


class Unit(configparser.ConfigParser):
    """One with the last of each key."""

    def __init__(self, name: str):
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment, method-assign] # how configparser is told to keep case
        self.read_string((FOLDER / name).read_text(encoding="utf-8"))


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, timeout=60)


@needs_systemd
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With this Python in the place of the installed one, which systemd looks for."""
    for path in FOLDER.glob("congrad*"):
        text = path.read_text(encoding="utf-8").replace(PYTHON, sys.executable)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    units = [name.replace("@", "@0") for name in UNITS]
    (tmp_path / "congrad-gradients@0.service").symlink_to(tmp_path / "congrad-gradients@.service")
    done = analyze("verify", "--man=no", *(str(tmp_path / name) for name in [*units, "congrad.target"]))
    assert (done.returncode, [line for line in done.stderr.splitlines() if "congrad" in line]) == (0, []), done.stderr


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_little_exposed(name: str) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(FOLDER / name))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("name", "module"), UNITS.items())
def test_units_run_the_parts_of_the_stack(name: str, module: str) -> None:
    unit = Unit(name)
    assert unit["Service"]["ExecStart"] == f"{PYTHON} -m {module}"
    assert unit["Service"]["RestartPreventExitStatus"] == "2"  # what all parts exit with where settings are wrong
    assert unit["Unit"]["PartOf"] == unit["Install"]["WantedBy"] == "congrad.target"


def test_every_part_has_the_time_to_stop_in_order() -> None:
    """And of a worker the parent alone is told: its child would die at once, with the task."""
    assert int(Unit("congrad-service.service")["Service"]["TimeoutStopSec"]) > 2 * DRAIN_S
    for name in ("congrad-decide.service", "congrad-gradients@.service"):
        service = Unit(name)["Service"]
        assert int(service["TimeoutStopSec"]) > 2 * SOFT_SHUTDOWN_S
        assert service["KillMode"] == "mixed"


def test_a_gradients_worker_has_the_gpu_of_its_name_and_can_reach_it() -> None:
    service = Unit("congrad-gradients@.service")["Service"]
    assert {"CUDA_VISIBLE_DEVICES=%i", "CONGRAD_DEVICE=cuda"} <= set(service["Environment"].split())
    assert not {"PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock"} & service.keys()


def test_the_environment_file_has_settings_of_the_parts() -> None:
    lines = (FOLDER / "congrad.env.example").read_text(encoding="utf-8").splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    settings = (ServiceSettings, DecideSettings, GradientSettings)
    known = {f"CONGRAD_{name.upper()}" for one in settings for name in one.model_fields}
    assert {"CONGRAD_REDIS_URL", "CONGRAD_API_KEY", "CONGRAD_MODEL"} <= names <= known
