"""KEDA's rule and the autoscaler's, on the numbers that a real service and its Redis give: workers come from none, and
none goes while there is work for it. Time is the test's, which plays the workers' part with their own store.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml  # type: ignore[import-untyped] # no stubs here
from congrad_service import keys
from congrad_service.queue.known import Known
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis
from support.autoscaler import SYNC_S, Autoscaler
from support.hands import compute_chunk
from support.metrics import value
from support.serving import ANNOUNCEMENT, service, settle, submit

SCALED_OBJECT = Path(__file__).parents[2] / "deploy" / "kubernetes" / "scaling" / "scaled-object.yaml"
WORK = keys.unfinished(ANNOUNCEMENT.fingerprint)
QUEUE = keys.gradients_queue(ANNOUNCEMENT.fingerprint)
HOUR = 3_600


def spec() -> dict[str, Any]:
    found = list(yaml.safe_load_all(SCALED_OBJECT.read_text(encoding="utf-8")))
    scaled: dict[str, Any] = found[0]["spec"]
    assert scaled["triggers"][0]["metadata"]["listName"].partition("FINGERPRINT")[0] == keys.unfinished("")
    return scaled


def without_workers(redis_url: str, store: Store, act: Callable[[httpx.AsyncClient], Any]) -> None:
    """A service whose gradients workers were all taken away after they had announced themselves."""

    async def once() -> None:
        async with Redis.from_url(redis_url) as redis:
            await Known(redis).remember([ANNOUNCEMENT])
        store.redis.delete(keys.workers("gradients"))
        async with service(redis_url, scale_from_zero=True, chunk_tokens=1) as client:
            await act(client)

    asyncio.run(once())


def replicas(scaler: Autoscaler, store: Store, start: int, end: int) -> list[int]:
    """Of each moment between two times, where nothing changes but them."""
    return [scaler.at(now, length(store)) for now in range(start, end, SYNC_S)]


def length(store: Store) -> int:
    """What KEDA reads: it counts a sorted set by ZCARD."""
    return int(store.redis.zcard(WORK))


def test_a_request_brings_up_a_worker_which_stays_while_it_computes_and_goes_when_nothing_is_left(
    redis_url: str, store: Store
) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        scaler = Autoscaler(spec())
        assert set(replicas(scaler, store, 0, HOUR)) == {0}
        job = await submit(client, ["de"])
        assert replicas(scaler, store, HOUR, HOUR + SYNC_S) == [1]
        store.start(job, 0)
        store.redis.delete(QUEUE)  # the message is taken with the work
        (shown,) = (await client.get("/queue")).json()["checkpoints"]
        assert (shown["tasks"], shown["work"], length(store)) == (0, 1, 1)
        assert value((await client.get("/metrics")).text, "congrad_queue_work", fingerprint="f00d") == 1
        assert set(replicas(scaler, store, HOUR + SYNC_S, 3 * HOUR)) == {1}
        by_the_queue = Autoscaler(spec(), replicas=1)
        assert by_the_queue.at(3 * HOUR, int(store.redis.llen(QUEUE))) == 0, "what waits alone would take it away"
        assert compute_chunk(store, job, 0)
        assert length(store) == 0
        settle(store, job)
        end = 3 * HOUR + spec()["cooldownPeriod"]
        assert set(replicas(scaler, store, 3 * HOUR, end)) == {1}
        assert set(replicas(scaler, store, end, 4 * HOUR)) == {0}

    without_workers(redis_url, store, act)


def test_more_work_brings_more_workers_and_they_go_one_by_one(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        scaler, most = Autoscaler(spec()), spec()["maxReplicaCount"]
        job = await submit(client, ["de"] * 40)
        assert length(store) == 40
        first = replicas(scaler, store, 0, 120)
        assert (first[0], max(first)) == (1, most)
        for number in range(39):
            compute_chunk(store, job, number)
        seen = replicas(scaler, store, 120, HOUR)
        assert sorted(seen, reverse=True) == seen, "none comes for what has gone"
        assert set(seen) == set(range(1, most + 1)), "one by one, and not the last, which has work"
        await client.delete(f"/jobs/{job}")
        assert length(store) == 0, "what is cancelled is no work"
        assert scaler.at(3 * HOUR, length(store)) == 0

    without_workers(redis_url, store, act)
