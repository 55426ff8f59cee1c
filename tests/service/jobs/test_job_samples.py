"""`GET /jobs/{id}/samples`: texts are shown where that is wished, as long as the answer is there, and nowhere else.

Over a real Redis; the tests do the workers' part.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.tasks.store import Store
from support.serving import announce_workers, compute, service, settings, settle
from support.stored import record_of

ASYNC = {"Prefer": "respond-async"}
MARKER = "text-marker"
PAIRS = [
    {"id": f"{number}\u2028", "language": tag, "prompt": f"{MARKER} “{number}”", "chosen": "ja\n", "rejected": "نعم"}
    for number, tag in enumerate(["de", "ar", "zh-Hant", "de", "fr"])
]
TURNS = {
    "id": "turns",
    "language": "de",
    "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}],
    "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}],
}


@pytest.fixture
def keeping(redis_url: str) -> Iterator[Store]:
    """The store of a decide worker that keeps texts."""
    announce_workers(redis_url)
    store = Store(settings(redis_url, keep_texts=True))
    yield store
    store.redis.close()


async def submit(client: httpx.AsyncClient, samples: list[dict[str, Any]], path: str = "/filter", **body: Any) -> str:
    body = body if path != "/filter" else {"samples": samples, **body}
    response = await client.post(path, json=body, headers=ASYNC)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


async def shown(client: httpx.AsyncClient, job_id: str) -> Any:
    response = await client.get(f"/jobs/{job_id}/samples")
    return response.json() if response.status_code == 200 else (response.status_code, response.json()["detail"])


def test_the_samples_are_those_that_were_sent_in_their_order(redis_url: str, keeping: Store) -> None:
    async def ask() -> None:
        async with service(redis_url, keep_texts=True, chunk_tokens=20) as client:
            job_id = await submit(client, [*PAIRS, TURNS])
            assert await shown(client, job_id) == [*PAIRS, TURNS]
            job = record_of(keeping, job_id)
            assert job is not None
            assert job.chunks > 3
            compute(keeping, job_id)
            settle(keeping, job_id)
            settle(keeping, job_id)  # delivered again
            assert await shown(client, job_id) == [*PAIRS, TURNS]
            answer = (await client.get(f"/jobs/{job_id}")).json()["result"]
            assert [one["id"] for one in answer["decisions"]] == [one["id"] for one in await shown(client, job_id)]

    asyncio.run(ask())


def test_texts_go_with_the_answer(redis_url: str, keeping: Store) -> None:
    async def ask() -> None:
        async with service(redis_url, keep_texts=True, chunk_tokens=20) as client:
            job_id = await submit(client, PAIRS)
            compute(keeping, job_id)
            settle(keeping, job_id)
            job = record_of(keeping, job_id)
            assert job is not None
            lives = {keeping.redis.pttl(key) for key in job.texts}
            answer = keeping.redis.pttl(keys.job(job_id))
            assert max(lives) <= 3_600_000
            assert answer - min(lives) < 1_000
            keeping.redis.delete(job.texts[1])
            assert await shown(client, job_id) == (404, f"the texts of job {job_id} are no longer kept")

    asyncio.run(ask())


def test_a_second_scoring_shows_the_samples_of_the_first_for_as_long_as_its_own_answer(
    redis_url: str, keeping: Store
) -> None:
    async def ask() -> None:
        async with service(redis_url, keep_texts=True, chunk_tokens=20) as client:
            job_id = await submit(client, PAIRS, retain=True)
            compute(keeping, job_id)
            settle(keeping, job_id)
            job = record_of(keeping, job_id)
            assert job is not None
            for key in (keys.job(job_id), *job.texts):
                keeping.redis.expire(key, 60)
            again = await submit(client, [], f"/jobs/{job_id}/rescore")
            assert await shown(client, again) == PAIRS
            settle(keeping, again)
            assert await shown(client, again) == PAIRS
            answer, *lives = (keeping.redis.pttl(key) for key in (keys.job(again), *job.texts))
            assert answer - min(lives) < 1_000
            assert min(lives) > 3_000_000

    asyncio.run(ask())


@pytest.mark.parametrize("end", ["fault", "cancel"])
def test_a_job_that_nobody_tries_again_leaves_no_texts(end: str, redis_url: str, keeping: Store) -> None:
    async def ask() -> None:
        async with service(redis_url, keep_texts=True) as client:
            job_id = await submit(client, PAIRS)
            assert held(keeping) == [keys.chunk(job_id, 0).encode()]
            if end == "cancel":
                await client.delete(f"/jobs/{job_id}")
            else:  # of the request's, which would fail again
                keeping.fail(job_id, wire.Problem(title="t", status=422, detail="d"))
            assert await shown(client, job_id) == (404, f"the texts of job {job_id} are no longer kept")
            assert held(keeping) == []

    asyncio.run(ask())


def test_a_job_that_was_given_up_keeps_its_texts_for_another_try_and_no_longer(redis_url: str, keeping: Store) -> None:
    async def ask() -> None:
        async with service(redis_url, keep_texts=True) as client:
            job_id = await submit(client, PAIRS)
            keeping.fail(job_id, wire.Problem(title="t", status=500, detail="d"))
            assert await shown(client, job_id) == PAIRS
            job, text = (keeping.redis.pttl(key) for key in (keys.job(job_id), keys.chunk(job_id, 0)))
            assert 0 < text < job + 1000  # each is kept from its own command on, of the same script

    asyncio.run(ask())


def test_nothing_is_kept_or_shown_unless_it_is_wished(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            job_id = await submit(client, PAIRS)
            refused = (404, "texts of samples are not kept here: CONGRAD_KEEP_TEXTS is not set")
            assert await shown(client, job_id) == refused
            compute(store, job_id)
            settle(store, job_id)
            assert await shown(client, job_id) == refused
            assert held(store) == []
        async with service(redis_url, keep_texts=True) as client:  # and the decide worker did not
            assert await shown(client, job_id) == (404, f"the texts of job {job_id} are no longer kept")

    asyncio.run(ask())


def held(store: Store) -> list[bytes]:
    """The keys under which Redis holds texts."""

    def content(key: bytes) -> object:
        return store.redis.hgetall(key) if store.redis.type(key) == b"hash" else store.redis.get(key)

    found = [key for kind in ("hash", "string") for key in store.redis.scan_iter(_type=kind)]
    return [key for key in found if MARKER in str(content(key))]
