"""What a worker refuses to serve, as whoever starts one sees it. `congrad up` passes it on."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from congrad_worker.errors import ShardStoreError
from congrad_worker.processes import celery_app
from congrad_worker.settings import WorkerSettings
from support.models import DEMO_CHECKPOINT


def without_config(folder: Path) -> dict[str, str]:
    return {"CONGRAD_MODEL": str(folder)}


def pickled(folder: Path) -> dict[str, str]:
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    return {"CONGRAD_MODEL": str(folder)}


def wrong_setting(_: Path) -> dict[str, str]:
    return {"CONGRAD_MODEL": str(DEMO_CHECKPOINT), "CONGRAD_TARGET_MODULES": "("}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (without_config, "has no config.json"),
        (pickled, "holds pickled weights only"),
        (wrong_setting, "CONGRAD_TARGET_MODULES: Value error, '(' is not a regular expression"),
    ],
)
def test_a_worker_refuses_what_it_cannot_serve_in_one_line(
    make: Callable[[Path], dict[str, str]], message: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "congrad_worker", "gradients"]
    done = subprocess.run(command, env=os.environ | make(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("congrad worker: ")
    assert message in line


@pytest.mark.parametrize(
    ("host", "setting"), [("[::1]", "CONGRAD_METRICS_HOST"), ("127.0.0.1", "CONGRAD_METRICS_PORT")]
)
def test_what_cannot_be_listened_on_is_said_of_the_setting_that_is_wrong(
    host: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(message: str) -> None:
        raise SystemExit(message)

    monkeypatch.setattr(celery_app, "give_up", give_up)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"^{setting}: .*:{port} cannot be listened on: "):
            celery_app.serve_metrics(WorkerSettings(metrics_host=host, metrics_port=port))


def test_a_process_whose_accelerator_is_lost_ends_at_once_and_says_why() -> None:
    code = """if True:
        from congrad_worker.errors import DeviceLostError
        from congrad_worker.processes.celery_app import ended_with_its_device
        with ended_with_its_device():
            raise DeviceLostError("cuda:0 computes nothing more")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert "cuda:0 computes nothing more: this process ends" in done.stderr


def test_a_task_that_is_given_back_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes again each second of an outage."""
    monkeypatch.setattr(celery_app, "OUTAGE_PAUSE_S", 0)
    app = Celery("given-back", set_as_current=False)

    def give_back() -> None:
        with celery_app.requeued_on_outage():
            raise ShardStoreError("the gradient store is away")

    given_back = app.task(give_back, name="given.back")
    build_tracer(given_back.name, given_back, app=app)("id", (), {}, {})
    (record,) = [one for one in caplog.records if one.name == "celery.app.trace"]
    assert "the gradient store is away" in record.getMessage()
    assert record.exc_info is None
