"""Several gradients workers under one process: real ones, on the CPU."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest
import redis
from congrad_service import keys
from congrad_service.queue.registry import Role
from congrad_worker.processes.fleet import environment, visible_gpus
from support.models import DEMO_CHECKPOINT


def fleet(redis_url: str, model: Path) -> subprocess.Popen[bytes]:
    """Two workers."""
    given = {"CONGRAD_REDIS_URL": redis_url, "CONGRAD_MODEL": str(model), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "congrad_worker", "gradients", "2"], env={**os.environ, **given}, start_new_session=True
    )


def announced(connection: "redis.Redis", number: int, running: subprocess.Popen[bytes]) -> set[str]:
    """The ids of all workers that were announced and did not say goodbye, once there are so many."""
    while True:
        found = cast("list[bytes]", connection.zrange(keys.workers(Role.GRADIENTS), 0, -1))
        ids = {worker.decode() for worker in found}
        if len(ids) >= number:
            return ids
        assert running.poll() is None
        time.sleep(0.05)  # nothing tells when a worker announces itself


def parent_of(worker: str) -> int:
    """The process of a worker, of the id that its child has announced."""
    child = int(worker.split(":")[1])
    return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow  # three workers start; a single one that is killed: test_liveness.py
@pytest.mark.skipif(sys.platform != "linux", reason="looks for a process in /proc")
def test_a_worker_that_dies_is_started_again_and_the_others_stay(redis_url: str) -> None:
    running = fleet(redis_url, DEMO_CHECKPOINT)
    with redis.Redis.from_url(redis_url) as connection:
        try:
            first = announced(connection, 2, running)
            dead, alive = sorted(first)
            parents = {worker: parent_of(worker) for worker in first}
            os.kill(parents[dead], signal.SIGKILL)
            connection.zrem(keys.workers(Role.GRADIENTS), dead)

            (new,) = announced(connection, 2, running) - {alive, dead}
            assert parent_of(alive) == parents[alive]
            assert parent_of(new) not in parents.values()
        finally:
            running.terminate()
            assert running.wait(60) == 0
        assert connection.zcard(keys.workers(Role.GRADIENTS)) <= 1  # the dead one's child may have beaten once more


def test_a_fleet_of_which_no_worker_can_start_ends(redis_url: str, tmp_path: Path) -> None:
    running = fleet(redis_url, tmp_path / "missing")
    assert running.wait(60) == 1


@pytest.mark.parametrize(
    ("workers", "gpus", "devices"),
    [
        (2, ["0", "1"], ["0", "1"]),
        (2, ["4", "6", "7", "GPU-f3"], ["4,6", "7,GPU-f3"]),
        (3, ["0", "1", "2", "3"], ["0", "1", "2,3"]),
        (4, ["0", "1"], ["0", "1", "0", "1"]),
    ],
)
def test_workers_share_the_gpus_evenly(workers: int, gpus: list[str], devices: list[str]) -> None:
    assert [environment(worker, workers, gpus)["CUDA_VISIBLE_DEVICES"] for worker in range(workers)] == devices


def test_hidden_gpus_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []


def test_each_worker_has_a_port_for_its_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGRAD_METRICS_PORT", "9464")
    assert [environment(worker, 3, [])["CONGRAD_METRICS_PORT"] for worker in range(3)] == ["9464", "9465", "9466"]


def test_a_port_that_is_no_number_is_left_for_the_worker_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGRAD_METRICS_PORT", "abc")
    assert environment(1, 2, [])["CONGRAD_METRICS_PORT"] == "abc"
