"""What `congrad doctor` says of this machine, before it needs a service."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from congrad.commands.app import app
from congrad.commands.terminal.probe import readiness
from congrad.local.redis_server import free_port
from typer.testing import CliRunner


def package() -> Mapping[str, str]:
    """What is said of the package."""
    done = CliRunner().invoke(app, ["doctor", "--url", f"http://127.0.0.1:{free_port()}", "--json"])
    (check,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "package")
    return check  # type: ignore[no-any-return] # of JSON


def test_the_package_is_named_with_its_version() -> None:
    found = package()
    assert (found["mark"], found["detail"]) == ("info", f"congrad-filter {version('congrad-filter')}")


def test_another_project_of_the_same_name_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "congrad-0.0.5.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text("Metadata-Version: 2.4\nName: congrad\nVersion: 0.0.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = package()
    assert found["mark"] == "warning"
    assert "another project's congrad 0.0.5" in found["detail"]
    assert "pip uninstall congrad" in found["hint"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"status": "ready"}, "workers are there"),
        ({"status": "asleep"}, "workers are asleep until there is work"),
        ({"status": "ready", "waiting_for_work": "m (f00d)"}, "no worker serves m (f00d) until there is work"),
        (None, "workers are there"),
    ],
)
def test_that_workers_come_with_the_work_is_said_of_a_service_that_is_ready(body: object, said: str) -> None:
    assert readiness(body) == said
