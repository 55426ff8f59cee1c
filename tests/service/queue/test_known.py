"""Checkpoints that nobody serves any more, and that requests wait for: over a real Redis, with real heartbeats."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_service.queue import known
from congrad_service.queue.known import KEPT_S, Known, Remembering
from congrad_service.queue.publication import Asked
from congrad_service.queue.registry import Registry, Role
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis
from support.serving import ANNOUNCEMENT, announce_workers, compute, service, settle, submit
from support.stored import record_of
from support.waiting import until

SAMPLES = [{"language": "de", "chosen": "c", "rejected": "r"}]


async def remember(redis_url: str, *fingerprints: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        for fingerprint in fingerprints:
            await Known(redis).remember([ANNOUNCEMENT.model_copy(update={"fingerprint": fingerprint})])


async def names(client: httpx.AsyncClient) -> dict[str, int]:
    """Workers by fingerprint."""
    found = (await client.get("/checkpoints")).json()
    return {one["fingerprint"]: one["workers"] for one in found}


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/filter", json={"samples": SAMPLES, **body}, headers={"Prefer": "respond-async"})


def test_a_request_for_what_was_served_once_is_taken_and_waits(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url, scale_from_zero=True) as client:
            await asyncio.to_thread(until, lambda: store.redis.exists(keys.KNOWN))  # the service looks by itself
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            store.redis.delete(keys.workers(Role.GRADIENTS))
            (away,) = (await client.get("/checkpoints")).json()
            checkpoint = wire.Checkpoint.model_validate(away)
            assert (checkpoint.fingerprint, checkpoint.workers, checkpoint.devices) == ("f00d", 0, [])
            assert checkpoint.seen is not None
            assert (await client.get("/readyz")).json() == {"status": "ready", "waiting_for_work": "policy (f00d)"}
            job = await submit(client, ["de"])
            assert (await client.get(f"/jobs/{job}")).json()["status"] == "queued"
            announce_workers(redis_url)
            assert await names(client) == {"f00d": 1}
            compute(store, job)
            settle(store, job)
            assert (await client.get(f"/jobs/{job}")).json()["status"] == "succeeded"
            store.redis.delete(keys.workers(Role.DECIDE))
            assert (await client.get("/readyz")).status_code == 503
        store.redis.delete(keys.workers(Role.GRADIENTS))
        async with service(redis_url) as client:
            assert await names(client) == {}
            assert (await post(client)).status_code == 503, "unless it is asked for, all is as before"

    asyncio.run(ask())


def test_what_is_served_goes_before_what_is_away_unless_that_is_asked_for(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        await remember(redis_url, "beef", "cafe")
        async with service(redis_url, scale_from_zero=True, max_queue=4) as client:
            served = record_of(store, (await post(client)).json()["id"])
            asked = record_of(store, (await post(client, checkpoint="beef", direction="own")).json()["id"])
            assert served is not None
            assert asked is not None
            assert (served.fingerprint, asked.fingerprint) == ("f00d", "beef")
            compute(store, asked.id)
            settle(store, asked.id)
            again = record_of(store, (await post(client, direction="own")).json()["id"])
            assert again is not None
            assert again.fingerprint == "beef", "its direction belongs to that"
            assert (await post(client, checkpoint="unknown")).status_code == 503
            store.redis.delete(keys.workers(Role.GRADIENTS))
            assert (await post(client)).status_code == 422, "which of three to wait for is not said"
            assert (await post(client, checkpoint="cafe")).status_code == 202
            assert (await post(client, checkpoint="cafe")).status_code == 202
            assert (await post(client, checkpoint="cafe")).status_code == 429, "bounded as all jobs are"

    asyncio.run(ask())


def test_what_was_replaced_in_its_workers_is_forgotten(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with Redis.from_url(redis_url) as redis:
            known = Known(redis)
            await remember(redis_url, "beef", "cafe")
            asked = Asked(id="p", replaces="beef", model=None, adapter="/a", created=0.0, sequence=0)
            loading = wire.Loading(worker="w", stage="loading", since=datetime.now(UTC))
            store.redis.set(keys.publishing("beef"), "p")
            store.redis.hset(keys.publication("p"), "asked", asked.model_dump_json())
            for stage in ("loading", "served"):
                assert [one.fingerprint for one in await known.checkpoints() if one.fingerprint == "beef"]
                said = loading.model_copy(update={"stage": stage}).model_dump_json()
                store.redis.hset(keys.publication("p"), "worker:w", said)
                await Remembering(redis, known, Registry(redis)).look()
            assert [one.fingerprint for one in await known.checkpoints()] == ["cafe", "f00d"]

    asyncio.run(ask())


def test_what_was_published_in_its_own_place_is_remembered(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with Redis.from_url(redis_url) as redis:
            known = Known(redis)
            await remember(redis_url, "beef")
            asked = Asked(id="p", replaces="beef", model="/m", adapter=None, created=0.0, sequence=0)
            served = wire.Loading(worker="w", stage="served", since=datetime.now(UTC)).model_dump_json()
            store.redis.set(keys.publishing("beef"), "p")
            hashed: Any = {"asked": asked.model_dump_json(), "fingerprint": "beef", "worker:w": served}
            store.redis.hset(keys.publication("p"), mapping=hashed)
            await Remembering(redis, known, Registry(redis)).look()
            assert "beef" in [one.fingerprint for one in await known.checkpoints()]

    asyncio.run(ask())


def test_it_is_forgotten_on_request_with_time_and_for_others(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        async with service(redis_url, scale_from_zero=True) as client:
            await remember(redis_url, "beef", "cafe")
            assert await names(client) == {"f00d": 1, "beef": 0, "cafe": 0}
            assert (await client.delete("/checkpoints/f00d")).status_code == 409
            assert (await client.delete("/checkpoints/beef")).status_code == 204
            assert (await client.delete("/checkpoints/beef")).status_code == 404
            assert await names(client) == {"f00d": 1, "cafe": 0}
            store.redis.zincrby(keys.KNOWN_SEEN, -KEPT_S - 1, "cafe")
            await remember(redis_url, "beef")
            assert await names(client) == {"f00d": 1, "beef": 0}
            monkeypatch.setattr(known, "MOST", 2)
            store.redis.zincrby(keys.KNOWN_SEEN, -60, "beef")
            await remember(redis_url, "cafe", "f00d")
            assert await names(client) == {"f00d": 1, "cafe": 0}
            assert store.redis.hlen(keys.KNOWN) == store.redis.zcard(keys.KNOWN_SEEN) == 2

    asyncio.run(ask())
