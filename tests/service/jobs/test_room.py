"""Room for jobs in Redis: what does not fit is refused before it is taken, and what is retained can be freed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import pytest
import redis
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.tasks import chunks
from congrad_worker.tasks.store import Store
from support.bench import Bench
from support.serving import compute, service, settle, submit

PAIR = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
ASYNC = {"Prefer": "respond-async"}
BUFFERS = 100_000
"""What Redis may have had for what it was reading or writing, and gives back in the next moment."""

SIZE = 2 * 16 + 512
"""Bytes of a gradient of the tests' sixteen numbers."""

Act = Callable[[httpx.AsyncClient], Awaitable[None]]


def play(redis_url: str, act: Act, **settings: Any) -> None:
    async def once() -> None:
        async with service(redis_url, **settings) as client:
            await act(client)

    asyncio.run(once())


@contextmanager
def with_memory(connection: redis.Redis, left: int) -> Iterator[None]:
    """Redis with so many bytes left."""
    connection.config_set("maxmemory", connection.info("memory")["used_memory"] + left)
    try:
        yield
    finally:
        connection.config_set("maxmemory", 0)


async def post(client: httpx.AsyncClient, samples: int, **body: Any) -> httpx.Response:
    return await client.post("/filter", json={"samples": [PAIR] * samples, **body}, headers=ASYNC)


def test_a_queue_is_bounded_in_bytes_beside_jobs(redis_url: str, store: Store) -> None:
    assert store.redis.ping()

    async def act(client: httpx.AsyncClient) -> None:
        assert (await post(client, 4)).status_code == 202
        refused = await post(client, 4)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert "CONGRAD_MAX_QUEUE_BYTES" in refused.json()["detail"]
        assert (await post(client, 1)).status_code == 202

    play(redis_url, act, max_queue_bytes=7 * SIZE)


def test_a_job_is_taken_only_where_its_gradients_will_have_room(redis_url: str, store: Store) -> None:
    """Sixteen jobs of which each finds room for itself, and all together do not, would never end."""

    async def act(client: httpx.AsyncClient) -> None:
        with with_memory(store.redis, left=800_000):
            answers = [await post(client, 200) for _ in range(16)]
            taken = [answer.json()["id"] for answer in answers if answer.status_code == 202]
            refused = [answer for answer in answers if answer.status_code == 503]
            assert 0 < len(taken) < 16
            assert len(taken) + len(refused) == 16
            assert all(
                "left, which the jobs" in answer.json()["detail"] and "retry-after" in answer.headers
                for answer in refused
            )
            for job_id in taken:
                compute(store, job_id)
                settle(store, job_id)
                assert (await client.get(f"/jobs/{job_id}")).json()["status"] == "succeeded"
            async with asyncio.timeout(10):  # Redis gives the buffers of its connections back when they have been idle
                while (await post(client, 200)).status_code != 202:  # noqa: ASYNC110 # nobody tells when
                    await asyncio.sleep(0.1)

    play(redis_url, act)


def test_a_job_that_would_never_fit_is_too_large(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        with with_memory(store.redis, left=4_000_000):
            most = int(str(store.redis.config_get("maxmemory")["maxmemory"]))
            samples = 9 * most // (10 * SIZE)
            refused = await client.post("/filter", json={"samples": [PAIR] * samples}, headers=ASYNC)
            assert refused.status_code == 413
            assert "send fewer at once" in refused.json()["detail"]

    play(redis_url, act, max_samples=10**6)


def test_what_a_team_retains_is_bounded_and_can_be_freed(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        kept = await submit(client, ["de"] * 4, retain=True)
        compute(store, kept)
        settle(store, kept)
        assert (await post(client, 4)).status_code == 202, "what is not retained is not meant"
        refused = await post(client, 4, retain=True)
        assert refused.status_code == 409
        assert "CONGRAD_MAX_RETAINED_BYTES" in refused.json()["detail"]
        freed = await client.delete(f"/jobs/{kept}")
        assert (freed.status_code, freed.json()["status"]) == (200, "succeeded")
        assert not store.redis.exists(*keys.all_gradients(kept, 1))
        assert (await client.post(f"/jobs/{kept}/rescore", json={})).status_code == 409
        assert (await client.delete(f"/jobs/{kept}")).status_code == 409, "there is nothing left to drop"
        assert (await post(client, 4, retain=True)).status_code == 202

    play(redis_url, act, max_retained_bytes=7 * SIZE)


def test_what_goes_to_a_gradient_store_takes_up_no_room_in_redis_and_counts_for_its_team(
    redis_url: str, store: Store
) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        kept = await submit(client, ["de"] * 4, retain=True)
        assert (await client.get("/queue")).json()["room"]["store"] == "s3"
        assert (await client.get("/queue")).json()["room"]["retained_bytes"] == 4 * SIZE
        refused = await post(client, 4, retain=True)
        assert refused.status_code == 409, "not 429: Redis has next to nothing of the first"
        assert "CONGRAD_MAX_RETAINED_BYTES" in refused.json()["detail"]
        assert (await post(client, 4)).status_code == 429, "what is not retained goes through Redis as ever"
        told = (await client.get("/queue")).json()["room"]
        assert (told["store"], told["bits"]) == ("s3", 16)
        await client.delete(f"/jobs/{kept}")
        assert store.redis.zcard(keys.retained(None)) == 0
        assert (await post(client, 4, retain=True)).status_code == 202

    limits = {"max_queue_bytes": 4 * SIZE, "max_retained_bytes": 7 * SIZE}
    play(redis_url, act, gradient_store="s3://bucket/folder", **limits)


def test_what_there_is_room_for_is_told_before_anything_is_sent(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        store.redis.config_set("maxmemory", 0)
        empty = {"retained_bytes": 0, "limit_bytes": 7 * SIZE, "free_bytes": None, "store": "redis", "bits": 16}
        assert (await client.get("/queue")).json()["room"] == empty
        kept = await submit(client, ["de"] * 4, retain=True)
        told = (await client.get("/queue")).json()["room"]
        assert told["retained_bytes"] == 4 * SIZE
        large = await submit(client, ["de"] * 1_000)
        with with_memory(store.redis, left=1_000_000):
            waiting = (await client.get("/queue")).json()["room"]
        assert 0 < waiting["free_bytes"] <= 1_000_000 - 1_004 * SIZE + BUFFERS, "gradients to come have their room"
        await client.delete(f"/jobs/{large}")
        compute(store, kept)
        settle(store, kept)
        await client.delete(f"/jobs/{kept}")
        assert (await client.get("/queue")).json()["room"] == empty

    play(redis_url, act, max_retained_bytes=7 * SIZE)


def test_what_is_retained_can_be_freed_in_a_full_redis(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        kept = await submit(client, ["de"] * 4, retain=True)
        compute(store, kept)
        settle(store, kept)
        with with_memory(store.redis, left=-1000):
            assert (await client.delete(f"/jobs/{kept}")).status_code == 200
        assert not store.redis.exists(*keys.all_gradients(kept, 1))

    play(redis_url, act)


def test_rescored_and_cancelled_jobs_retain_nothing(redis_url: str, store: Store) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        kept, cancelled = [await submit(client, ["de"] * 2, retain=True) for _ in range(2)]
        compute(store, kept)
        settle(store, kept)
        await client.delete(f"/jobs/{cancelled}")
        assert store.redis.zcard(keys.retained(None)) == 1
        again = await client.post(f"/jobs/{kept}/rescore", json={}, headers=ASYNC)
        settle(store, again.json()["id"])
        assert store.redis.zcard(keys.retained(None)) == 0

    play(redis_url, act)


def test_a_chunk_that_a_full_redis_does_not_take_waits_and_is_computed_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(redis_url)
    job_id, count = bench.create()
    with with_memory(bench.store.redis, left=-1000):
        for _ in range(chunks.MAX_ATTEMPTS + 2):
            assert bench.store.turn(keys.gradients_queue("f00d")) == (job_id, 0)
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                bench.processor.process(job_id, 0)
    computed = bench.processor.activity.tokens
    job = bench.run(job_id, count)
    assert job.result is not None
    assert job.error is None
    assert bench.processor.activity.tokens > computed, "the other chunks"
    with monkeypatch.context() as patched, with_memory(bench.store.redis, left=0):
        patched.setattr(chunks, "MEMORY_PATIENCE_S", -1.0)
        bench.store.redis.config_set("maxmemory", 0)
        job_id, _ = bench.create()
        bench.store.redis.config_set("maxmemory", 1)
        assert bench.store.turn(keys.gradients_queue("f00d")) == (job_id, 0)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            bench.processor.process(job_id, 0)
        assert bench.store.turn(keys.gradients_queue("f00d")) == (job_id, 0)
        bench.processor.process(job_id, 0)
    assert bench.job(job_id).error.status == 503  # type: ignore[union-attr]


@pytest.mark.usefixtures("store")
def test_numbers_in_a_gradient_store_may_have_eight_bits_and_take_half_as_much(redis_url: str) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        assert (await post(client, 4, retain=True)).status_code == 202
        told = (await client.get("/queue")).json()["room"]
        assert (told["bits"], told["retained_bytes"]) == (8, 4 * (16 + 512))

    play(redis_url, act, gradient_store="s3://bucket/folder", gradient_bits=8)


def test_what_is_held_is_added_up_as_it_comes_and_goes(redis_url: str, store: Store) -> None:
    """And not at each request: Redis stands still meanwhile, for a tenth of a second where there are as many as fit."""

    def check(key: str, count: int) -> None:
        members = cast("list[bytes]", store.redis.zrange(key, 0, -1))
        held = cast("bytes | None", store.redis.get(keys.HELD + key))
        assert len(members) == count
        if held is None:
            assert not members
        else:
            together = sum([int(one.rpartition(b":")[2]) for one in members])
            assert held.decode() == f"{count}:{together}"
            assert 0 < store.redis.ttl(keys.HELD + key) <= store.redis.ttl(key)

    async def act(client: httpx.AsyncClient) -> None:
        retained = keys.retained(None)
        jobs = [await submit(client, ["de"] * size, retain=True) for size in (1, 2, 3, 4)]
        check(retained, 4)
        for job_id in jobs[:2]:
            compute(store, job_id)
            settle(store, job_id)
        check(retained, 4)
        assert (await client.delete(f"/jobs/{jobs[0]}")).status_code == 200
        check(retained, 3)
        assert (await client.delete(f"/jobs/{jobs[2]}")).status_code == 200
        check(retained, 2)
        (latest,) = cast("list[bytes]", store.redis.zrange(retained, -1, -1))
        store.redis.zadd(retained, {latest: store.now() - 1})  # its time is over
        await submit(client, ["de"], retain=True)
        check(retained, 2)
        store.redis.zremrangebyrank(retained, 0, 0)  # as by somebody who does not add up
        await submit(client, ["de"] * 5, retain=True)
        check(retained, 2)
        failed = [await submit(client, ["de"] * size) for size in (1, 2)]
        for job_id in failed:
            store.fail(job_id, wire.Problem(title="t", status=500, detail="d"))
        check(keys.GIVEN_UP, 2)
        assert (await client.post(f"/jobs/{failed[0]}/retry", headers=ASYNC)).status_code == 202
        check(keys.GIVEN_UP, 1)
        (last,) = cast("list[bytes]", store.redis.zrange(keys.GIVEN_UP, 0, -1))
        store.redis.zadd(keys.GIVEN_UP, {last: store.now() - 1})
        store.fail(await submit(client, ["de"]), wire.Problem(title="t", status=500, detail="d"))
        check(keys.GIVEN_UP, 1)

    play(redis_url, act)
