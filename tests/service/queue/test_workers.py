"""`GET /workers` and `GET /queue`: real heartbeats over a real Redis, and Celery's own messages."""

import asyncio
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, cast

import httpx
import pytest
from congrad.local.redis_server import free_port
from congrad_service import keys
from congrad_service.queue.registry import Announcement, Role
from congrad_worker.activity import Activity
from congrad_worker.processes import liveness
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.tasks.store import Store
from support.hands import do_all
from support.metrics import value
from support.serving import ANNOUNCEMENT, service, settings, submit


@contextmanager
def beating(
    redis_url: str, role: Role, announcement: Announcement | None = None, activity: Activity | None = None
) -> Iterator[str]:
    """A worker that says so; its id."""
    store = Store(settings(redis_url))
    beat = Heartbeat(store, role, announcement, activity)
    beat.start()
    yield store.worker_id
    beat.stop()
    store.redis.close()


async def get(client: httpx.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_worker_says_what_it_serves_and_how_it_is_doing(redis_url: str) -> None:
    async def ask() -> None:
        activity = Activity()
        with ExitStack() as workers:
            first = workers.enter_context(beating(redis_url, Role.GRADIENTS, ANNOUNCEMENT))
            with activity.task():
                activity.count(tokens=1000, computed=1500)
            workers.enter_context(activity.task())
            second = workers.enter_context(beating(redis_url, Role.GRADIENTS, ANNOUNCEMENT, activity))
            decide = workers.enter_context(beating(redis_url, Role.DECIDE))
            async with service(redis_url) as client:
                found = await get(client, "/workers")
                (served,) = await get(client, "/checkpoints")
            assert [one["id"] for one in found] == [first, second, decide]
            for one in found[:2]:
                assert (one["role"], one["checkpoint"], one["fingerprint"]) == ("gradients", "policy", "f00d")
                assert one["device"] == "cpu"
            assert (found[2]["role"], found[2]["checkpoint"], found[2]["fingerprint"]) == ("decide", None, None)
            assert [(one["busy"], one["tasks"]) for one in found] == [(False, 0), (True, 1), (False, 0)]
            assert [one["tokens_per_s"] is not None for one in found] == [False, True, False]
            assert (served["name"], served["workers"]) == ("policy", 2)

    asyncio.run(ask())


def test_a_worker_tells_of_its_memory_and_its_times(redis_url: str) -> None:
    async def ask() -> None:
        with beating(redis_url, Role.DECIDE):
            async with service(redis_url) as client:
                (worker,) = await get(client, "/workers")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        assert most / 8 < worker["memory"]["allocated_bytes"] < most * 1.1  # the kernel counts it in batches
        assert worker["memory"]["total_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        started, seen = (datetime.fromisoformat(worker[name]) for name in ("started", "seen"))
        assert started <= seen
        assert abs((datetime.now(seen.tzinfo) - seen).total_seconds()) < 5

    asyncio.run(ask())


def test_each_beat_is_news_and_the_start_stays(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = threading.Semaphore(0)
    announced = liveness.announced

    def count() -> None:
        announced()
        beaten.release()

    monkeypatch.setattr(liveness, "announced", count)

    async def ask() -> None:
        activity = Activity()
        with beating(redis_url, Role.DECIDE, activity=activity):
            async with service(redis_url) as client:
                (before,) = await get(client, "/workers")
                with activity.task():
                    pass
                for _ in range(3):  # the first was before, and the second may have begun before
                    await asyncio.to_thread(beaten.acquire, timeout=10)
                (after,) = await get(client, "/workers")
        assert (before["tasks"], after["tasks"]) == (0, 1)
        assert before["started"] == after["started"]
        assert before["seen"] < after["seen"]

    asyncio.run(ask())


def test_a_worker_that_has_left_or_fallen_silent_is_not_there(redis_url: str) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            with beating(redis_url, Role.DECIDE) as worker:
                store = Store(settings(redis_url))
                before_the_clock_was_put_back = store.now() + 3600
                said = {"silent": store.now() - 60, "late": before_the_clock_was_put_back}
                store.redis.zadd(keys.workers(Role.DECIDE), said)
                assert [one["id"] for one in await get(client, "/workers")] == [worker]
                store.redis.close()
            assert await get(client, "/workers") == []

    asyncio.run(ask())


def test_the_queue_tells_of_the_tasks_that_nobody_has_taken(redis_url: str, store: Store) -> None:
    gradients = keys.gradients_queue(ANNOUNCEMENT.fingerprint)

    async def ask() -> None:
        async with service(redis_url, chunk_tokens=1, max_queue=7) as client:
            served = {"checkpoint": "policy", "fingerprint": "f00d", "tasks": 0, "work": 0}
            empty = {"active": 0, "limit": 7, "oldest_s": None, "checkpoints": [served], "decide": 0}
            told = await get(client, "/queue")
            assert told.pop("room")["limit_bytes"] == 16 * 2**30
            assert told == empty
            first = await submit(client, ["de", "fr", "sw"])
            await submit(client, ["de", "fr"])
            found = await get(client, "/queue")
            assert (found["active"], found["checkpoints"]) == (2, [served | {"tasks": 5, "work": 5}])
            created = cast("bytes", store.redis.hget(keys.job(first), "created"))
            assert 0 <= found["oldest_s"] <= store.now() - float(created)
            store.redis.lpop(gradients)
            assert (await get(client, "/queue"))["checkpoints"] == [served | {"tasks": 4, "work": 5}], "one is taken"
            await asyncio.to_thread(do_all, store)
            state = client._transport.app.state.congrad  # type: ignore[attr-defined]
            await asyncio.to_thread(state.queue.enqueue_decision, first)
            found = await get(client, "/queue")
            assert (found["active"], found["checkpoints"], found["decide"]) == (1, [served | {"work": 1}], 1)

    asyncio.run(ask())


@pytest.mark.usefixtures("store")
def test_tasks_are_counted_in_a_broker_that_is_no_redis_too(redis_url: str) -> None:
    async def ask() -> None:
        async with service(redis_url, broker_url="memory://", chunk_tokens=1) as client:
            await submit(client, ["de", "fr", "sw"])
            found = await get(client, "/queue")
            assert ([one["tasks"] for one in found["checkpoints"]], found["decide"]) == ([3], 0)

    asyncio.run(ask())


@pytest.mark.usefixtures("store")
def test_a_broker_that_does_not_answer_is_503(redis_url: str) -> None:
    async def ask() -> None:
        async with service(redis_url, broker_url=f"amqp://127.0.0.1:{free_port()}//") as client:
            response = await client.get("/queue")
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            assert response.json()["detail"] == "the queue cannot be reached"
            metrics = (await client.get("/metrics")).text
            assert value(metrics, "congrad_redis_up") == 1
            assert "congrad_queue" not in metrics

    asyncio.run(ask())


def test_a_checkpoint_that_nobody_serves_is_named_while_jobs_wait_for_it(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            job_id = await submit(client, ["de"])
            store.redis.delete(keys.workers(Role.GRADIENTS))
            waiting = {"checkpoint": "policy", "fingerprint": "f00d", "tasks": 1, "work": 1}
            assert (await get(client, "/queue"))["checkpoints"] == [waiting]
            await client.delete(f"/jobs/{job_id}")
            assert (await get(client, "/queue"))["checkpoints"] == []

    asyncio.run(ask())
