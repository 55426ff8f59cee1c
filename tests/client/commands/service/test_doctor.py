"""What `congrad doctor` says of this machine, before it needs a service."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from congrad.commands.app import app
from congrad.commands.terminal.probe import Answer, Probe, readiness
from congrad.local.redis_server import free_port
from typer.testing import CliRunner


def check(name: str) -> Mapping[str, str]:
    """What is said of one thing."""
    done = CliRunner().invoke(app, ["doctor", "--url", f"http://127.0.0.1:{free_port()}", "--json"])
    (found,) = (one for one in json.loads(done.stdout)["checks"] if one["name"] == name)
    return found  # type: ignore[no-any-return] # of JSON


def test_the_package_is_named_with_its_version() -> None:
    found = check("package")
    assert (found["mark"], found["detail"]) == ("info", f"congrad-filter {version('congrad-filter')}")


def test_another_project_of_the_same_name_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "congrad-0.0.5.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text("Metadata-Version: 2.4\nName: congrad\nVersion: 0.0.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = check("package")
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


@pytest.mark.parametrize(
    ("body", "mark", "said"),
    [
        ([{"name": "m", "workers": 2, "devices": ["cuda:0", "cuda:1"]}], "ok", "m (2 on cuda:0 cuda:1)"),
        ([{"name": "m", "workers": 0, "devices": []}], "ok", "m (no worker now)"),
        ([], "failed", "no live worker serves one"),
        ([1], "failed", "the answer is no list of checkpoints"),
        ({}, "failed", "the answer is no list of checkpoints"),
    ],
)
def test_checkpoints_are_named_with_who_serves_them(
    body: object, mark: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = {"/livez": {"status": "live"}, "/checkpoints": body}
    monkeypatch.setattr(Probe, "get", lambda _, path: Answer(200, body=bodies.get(path)))
    found = check("checkpoints")
    assert (found["mark"], found["detail"]) == (mark, said)
