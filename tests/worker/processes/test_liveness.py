"""Health checks of real workers: what `python -m congrad_worker health` says."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
import redis
from congrad.local import part
from congrad.local.part import Part, Program
from congrad_service import keys
from congrad_service.queue.registry import Role
from congrad_worker.processes import liveness, worker


def is_healthy(folder: Path) -> bool:
    """What a health check finds in a container whose temporary folder this is."""
    asked = [sys.executable, "-m", "congrad_worker", "health"]
    return subprocess.run(asked, env={**os.environ, "TMPDIR": str(folder)}).returncode == 0


def wait_until(condition: Callable[[], bool], worker: Part) -> None:
    """Blocks until the condition holds; the worker must run on."""
    while not condition():
        assert worker.status is None
        time.sleep(0.05)  # nothing tells when a process has come so far


def announced(folder: Path) -> int:
    """How many workers have said in this folder that they are there. A health check costs much more than a look."""
    return len(list(folder.glob("congrad-worker-*/announced")))


@contextmanager
def decide_worker(redis_url: str, folder: Path) -> Iterator[Part]:
    """A worker that has been started."""
    environment = {**os.environ, "TMPDIR": str(folder), "CONGRAD_REDIS_URL": redis_url}
    worker = Part(Program("decide worker", [sys.executable, "-m", "congrad_worker", "decide"], environment), None)
    try:
        yield worker
    finally:
        worker.stop()


def children(connection: "redis.Redis") -> list[int]:
    """The processes that have announced themselves, in that order."""
    ids = cast("list[bytes]", connection.zrange(keys.workers(Role.DECIDE), 0, -1))
    return [int(worker.split(b":")[1]) for worker in ids]


def test_without_a_worker_nothing_is_healthy(tmp_path: Path) -> None:
    assert not is_healthy(tmp_path)


def test_without_a_folder_for_temporary_files_a_worker_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert worker._serve(object(), Role.DECIDE, "queue") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("congrad worker: no temporary folder can be made (No usable temporary directory found")
    assert line.endswith("TMPDIR names a folder for it")
    assert not liveness.are_good()


def test_a_worker_is_healthy_from_its_announcement_on_and_while_its_child_lives(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "Popen", subprocess.Popen)  # as slow to start as a worker is
    with decide_worker(redis_url, tmp_path) as worker, redis.Redis.from_url(redis_url) as connection:
        wait_until(lambda: any(tmp_path.glob("congrad-worker-*")), worker)
        assert not is_healthy(tmp_path)  # it has yet to start its child, which takes longer than this question
        wait_until(lambda: announced(tmp_path) == 1, worker)
        assert is_healthy(tmp_path)
        (first,) = children(connection)

        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not is_healthy(tmp_path), worker)
        wait_until(lambda: children(connection)[-1] != first, worker)
        wait_until(lambda: is_healthy(tmp_path), worker)

    assert not is_healthy(tmp_path)


def test_what_a_killed_worker_leaves_behind_is_no_worker(redis_url: str, tmp_path: Path) -> None:
    with decide_worker(redis_url, tmp_path) as killed:
        wait_until(lambda: announced(tmp_path) == 1, killed)
        assert is_healthy(tmp_path)
        killed.kill()
        assert announced(tmp_path) == 1
        assert not is_healthy(tmp_path)
        with decide_worker(redis_url, tmp_path) as worker:
            wait_until(lambda: announced(tmp_path) == 2, worker)
            assert is_healthy(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not say when a process started")
def test_a_process_that_got_the_number_of_a_killed_worker_is_no_worker(redis_url: str, tmp_path: Path) -> None:
    with decide_worker(redis_url, tmp_path) as killed:
        wait_until(lambda: announced(tmp_path) == 1, killed)
        killed.kill()
    (left,) = tmp_path.glob("congrad-worker-*")
    left.rename(tmp_path / f"congrad-worker-{os.getpid()}-left")
    with decide_worker(redis_url, tmp_path) as worker:
        wait_until(lambda: announced(tmp_path) == 2, worker)
        assert is_healthy(tmp_path)


def test_a_folder_of_another_user_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody on a machine can make one of the name, and nobody reads those of others."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / f"congrad-worker-{os.getpid()}-own"
    folder.mkdir()
    (folder / liveness.ANNOUNCED).write_text(str(os.getpid()), encoding="utf-8")
    assert liveness.are_good()
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert not liveness.are_good()  # that there is no worker is all that is known
