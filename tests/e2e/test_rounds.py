"""Rounds without an end, and workers that are killed between two of them."""

import os
import random
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped] # two calls are not worth a package of stubs
import pytest
import redis
from chaos.parts import Role
from chaos.stack import SERVED, SupervisedStack, supervised_stack
from congrad import Client
from congrad.local.stack import StackOptions, running_stack
from support.adapters import save_adapter
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples

ROUNDS = 100
WARM = 30
"""Rounds after which nothing grows any more: allocators have what they need."""
FEW = 10

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="finds processes as Linux has them")]


def resident(pids: dict[str, int]) -> dict[str, int]:
    """Bytes of memory of processes, by name."""
    return {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}


def processes(client: Client, url: str) -> dict[str, int]:
    """The worker that computes, its parent, and the service."""
    (worker,) = (one for one in client.workers() if one.role == "gradients")
    child = int(worker.id.split(":")[1])
    port = int(url.rpartition(":")[2])
    (service,) = {
        own.pid
        for own in psutil.Process(os.getpid()).children()
        if any(at.laddr.port == port and at.status == psutil.CONN_LISTEN for at in own.net_connections())
    }
    return {"worker": child, "parent": psutil.Process(child).ppid(), "service": service}


def test_a_hundred_rounds_read_no_file_of_the_base_and_leave_nothing_behind(tmp_path: Path) -> None:
    model = shutil.copytree(DEMO_CHECKPOINT, tmp_path / "model")
    environment = {"CONGRAD_MODEL": str(model), "CONGRAD_MODELS": str(tmp_path), "CONGRAD_RESULT_TTL": "1"}
    options = StackOptions(tmp_path / "data", port=0, environment=environment, log=tmp_path / "log")
    rows, took, held = demo_samples("de", "fr", each=1), [], []
    with running_stack(options) as stack, Client(stack.url) as client:
        shutil.rmtree(model)
        found, fingerprints = processes(client, stack.url), set()
        for number in range(ROUNDS):
            adapter = save_adapter(DEMO_CHECKPOINT, tmp_path / f"round-{number}", seed=number)
            begun = time.monotonic()
            served = client.checkpoints.publish(adapter=adapter)
            client.filter(rows, direction=f"round-{number}", checkpoint=served.fingerprint)
            took.append(time.monotonic() - begun)
            client.directions.reset(f"round-{number}")
            shutil.rmtree(adapter)
            fingerprints.add(served.fingerprint)
            held.append(resident(found))
        assert len(fingerprints) == ROUNDS
        assert processes(client, stack.url) == found, "a process was started again"
        # Right after some rounds an allocator holds one model's worth more; what is left behind is there after all.
        warm, after = (
            {name: min(held[number][name] for number in range(last - FEW, last)) for name in found}
            for last in (WARM, ROUNDS)
        )
        print({"seconds": sorted(took)[ROUNDS // 2], "warm": warm, "after": after})
        for name, bytes_ in after.items():
            assert bytes_ <= 1.01 * warm[name], name
        with redis.Redis.from_url(stack.environment["CONGRAD_REDIS_URL"]) as connection:
            keys = [key.decode() for key in connection.scan_iter(count=1000)]
        last = f"congrad.gradients.{served.fingerprint}"
        kombu = {f"_kombu.binding.{last}", f"_kombu.binding_permanent.{last}"}
        assert {key for key in keys if "congrad.gradients." in key} <= {last, *kombu}
        assert len([key for key in keys if re.fullmatch(r"congrad:worker:[^:]+:\d+:\w+", key)]) == 2
        stack.kill_all_but_redis()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[SupervisedStack]:
    """One gradients worker."""
    with supervised_stack(tmp_path / "stack", random.Random(0), gradients_workers=1) as stack:  # noqa: S311
        yield stack


@pytest.mark.parametrize("stage", ["loading", "served"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_worker_that_is_killed_comes_back_with_what_it_should_and_goes_on(
    stage: str, whole: bool, supervised: SupervisedStack
) -> None:
    stack = supervised
    rows = demo_samples("de", each=2)
    (worker,) = stack.of(Role.GRADIENTS)
    with httpx.Client(base_url=stack.url, timeout=60) as http:
        assert stack.publishes_the_other()
        (published,) = (one["publication"] for one in http.get("/checkpoints").json())
        path = f"/publications/{published['id']}" if published else None
        accepted = submit(http, rows, SERVED[0])
        if path is not None:
            wait(lambda: reached(http, path, stage))
        worker.kill() if whole else worker.kill_child()
        stack.wait_until(lambda: stack.is_whole and stack.served() == [SERVED[1]])
        accepted += submit(http, rows, SERVED[1])
        for job in accepted:
            stack.wait_until(lambda job=job: http.get(f"/jobs/{job}").json()["status"] == "succeeded")  # type: ignore[misc]
    assert stack.ended_by_itself == []


def submit(http: httpx.Client, rows: list[dict[str, str]], checkpoint: str) -> list[str]:
    """The id of a job, unless its checkpoint is not served any more."""
    body = {"samples": rows, "direction": f"test-{uuid.uuid4().hex}", "checkpoint": checkpoint}
    response = http.post("/filter", json=body, headers={"Prefer": "respond-async"})
    assert response.status_code in (202, 503), response.text
    return [response.json()["id"]] if response.status_code == 202 else []


def reached(http: httpx.Client, path: str, stage: str) -> bool:
    """Whether the worker is in that stage, or beyond it."""
    stages = [one["stage"] for one in http.get(path).json()["workers"]]
    return "served" in stages or (stage == "loading" and bool({"loading", "verifying"} & {*stages}))


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
