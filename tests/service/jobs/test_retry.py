"""What was given up, listed, and tried again: over a real Redis; the tests do the workers' part."""

import asyncio
from typing import Any

import httpx
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_service.scripts import limits
from congrad_worker.tasks.store import Store
from support.serving import announce_workers, compute, meanwhile, service, settle, submit
from support.stored import record_of

LANGUAGES = ["de", "fr", "sw"]
ASYNC = {"Prefer": "respond-async"}
LOST = wire.Problem(title="t", status=500, detail="chunk 1 was given up")


async def listed(client: httpx.AsyncClient, query: str = "?status=failed") -> dict[str, dict[str, Any]]:
    """Rows of jobs by their ids."""
    return {row["id"]: row for row in (await client.get(f"/jobs{query}")).json()}


async def retry(client: httpx.AsyncClient, job_id: str) -> httpx.Response:
    return await client.post(f"/jobs/{job_id}/retry", headers=ASYNC)


async def retried(client: httpx.AsyncClient, job_id: str) -> str:
    """The id of the job that it is tried again as."""
    response = await retry(client, job_id)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/jobs/{response.json()['id']}"
    return str(response.json()["id"])


def give_up(store: Store, job_id: str, starts: int = 3) -> None:
    """Ends a job whose chunk 1 was started so often, one of whose other chunks is computed."""
    for _ in range(starts):
        store.start(job_id, 1)
        store.leases.rest()
    store.fail(job_id, LOST)


async def samples_of(client: httpx.AsyncClient, store: Store, job_id: str) -> int:
    """How many samples a direction has of one job, done by hand."""
    compute(store, job_id)
    settle(store, job_id)
    result = (await client.get(f"/jobs/{job_id}")).json()["result"]
    return sum(result["direction"]["languages"].values())


def test_what_was_given_up_is_listed_with_why_and_how_often_it_was_tried_and_is_one_job_again(
    redis_url: str, store: Store
) -> None:
    async def ask() -> None:
        async with service(redis_url, chunk_tokens=1) as client:
            lost, other = await submit(client, LANGUAGES, direction="d"), await submit(client, ["de"])
            sent = store.redis.mget(keys.chunks(lost, 3))
            give_up(store, lost)
            row = (await listed(client))[lost]
            assert (row["status"], row["error"]["detail"], row["starts"]) == ("failed", LOST.detail, 3)
            assert (row["can_be_retried"], row["retried"]) == (True, None)
            assert other not in await listed(client)
            assert not store.redis.exists(keys.pending(lost), keys.ready_chunks(lost))
            again = await retried(client, lost)
            assert again != lost
            assert await retried(client, lost) == again, "twice is once"
            row = (await listed(client))[lost]
            assert (row["can_be_retried"], row["retried"]) == (False, again)
            assert store.redis.mget(keys.chunks(again, 3)) == sent
            assert not store.redis.exists(*keys.chunks(lost, 3), keys.GIVEN_UP)
            assert await samples_of(client, store, again) == len(LANGUAGES)
            assert (await retry(client, lost)).json()["job_id"] == again, "its answer is that of the other"
            assert [*await listed(client, "?status=succeeded")] == [again]

    asyncio.run(ask())


def test_a_request_that_is_sent_again_and_its_job_tried_again_are_one_job(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            samples = [{"language": "de", "chosen": "c", "rejected": "r"}]
            headers = {**ASYNC, "Idempotency-Key": "k"}

            async def send() -> str:
                return str((await client.post("/filter", json={"samples": samples}, headers=headers)).json()["id"])

            first = await send()
            give_up(store, first)
            second = await send()
            assert second != first
            assert (await listed(client))[first]["retried"] == second
            assert await retried(client, first) == second
            give_up(store, second)
            problem = (await retry(client, first)).json()
            assert (problem["status"], problem["detail"]) == (
                409,
                f"job {first} was tried again as job {second}, which failed too; retry that one",
            )
            third = await retried(client, second)
            assert await send() == third
            assert await samples_of(client, store, third) == 1

    asyncio.run(ask())


def test_of_two_that_try_again_at_once_the_later_finds_what_the_earlier_made(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier: list[str] = []

    def once() -> None:
        async def ask() -> None:
            async with service(redis_url) as client:
                earlier.append(await retried(client, lost))
                await samples_of(client, store, earlier[0])

        asyncio.run(ask())

    async def first() -> str:
        async with service(redis_url) as client:
            lost = await submit(client, ["de"])
            give_up(store, lost)
            return lost

    async def second() -> httpx.Response:
        async with service(redis_url) as client:
            return await retry(client, lost)

    lost = asyncio.run(first())
    meanwhile(monkeypatch, once)
    response = asyncio.run(second())
    assert response.status_code == 200, response.text
    assert response.json()["job_id"] == earlier[0]


def test_only_what_failed_for_no_fault_of_its_own_can_be_tried_again(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            waiting, refused, cancelled = [await submit(client, ["de"]) for _ in range(3)]
            store.fail(refused, wire.Problem(title="t", status=422, detail="sample 0 is none"))
            await client.delete(f"/jobs/{cancelled}")
            assert not (await listed(client))[refused]["can_be_retried"]
            assert not store.redis.exists(*keys.chunks(refused, 1), *keys.chunks(cancelled, 1))
            for job_id, detail in (
                (waiting, "has not failed: its status is queued"),
                (refused, "failed for what it asks, and would again"),
                (cancelled, "has not failed: its status is cancelled"),
            ):
                problem = (await retry(client, job_id)).json()
                assert problem["status"] == 409
                assert detail in problem["detail"]
            gone = await submit(client, ["de"])
            give_up(store, gone)
            store.redis.delete(keys.chunk(gone, 0))
            problem = (await retry(client, gone)).json()
            assert (problem["status"], "no longer kept; send them again" in problem["detail"]) == (404, True)
            assert (await retry(client, "0" * 32)).status_code == 404

    asyncio.run(ask())


def test_what_was_given_up_is_kept_as_long_as_an_unfinished_job_and_takes_up_no_more_than_so_much(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            first, second = await submit(client, ["de"]), await submit(client, ["de"])
            give_up(store, first)
            assert 3_600 < store.redis.ttl(keys.job(first)) <= 86_400
            assert 3_600 < store.redis.ttl(keys.chunk(first, 0)) <= 86_400
            size = int(store.redis.hget(keys.job(first), "bytes") or 0)
            monkeypatch.setattr(limits, "GIVEN_UP_BYTES", size + 1)
            give_up(store, second)
            rows = await listed(client)
            assert [rows[job]["can_be_retried"] for job in (first, second)] == [False, True]
            assert [store.redis.exists(keys.chunk(job, 0)) for job in (first, second)] == [0, 1]
            monkeypatch.setattr(limits, "GIVEN_UP_BYTES", 0)
            third = await submit(client, ["de"])
            give_up(store, third)
            assert store.redis.zcard(keys.GIVEN_UP) == 0

    asyncio.run(ask())


def test_it_is_computed_with_the_checkpoint_that_it_was_meant_for_or_refused(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            lost = await submit(client, ["de"])
            give_up(store, lost)
            store.redis.delete(keys.workers("gradients"))
            assert (await retry(client, lost)).status_code == 503
            announce_workers(redis_url)
            assert (await listed(client))[lost]["can_be_retried"], "a refusal takes nothing away"
            again = record_of(store, await retried(client, lost))
            assert again is not None
            assert again.fingerprint == "f00d"

    asyncio.run(ask())


def test_a_second_scoring_that_failed_is_tried_again_while_the_gradients_are_there(
    redis_url: str, store: Store
) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            source = await submit(client, LANGUAGES, retain=True)
            await samples_of(client, store, source)
            path, body = f"/jobs/{source}/rescore", {"aggregator": "mean", "retain": True}
            lost = (await client.post(path, json=body, headers=ASYNC)).json()["id"]
            store.fail(lost, LOST)
            assert (await listed(client))[lost]["can_be_retried"]
            again = await retried(client, lost)
            record = record_of(store, again)
            assert record is not None
            assert (record.source, record.aggregator, record.retain) == (source, "mean", True)
            settle(store, again)
            assert (await client.get(f"/jobs/{again}")).json()["status"] == "succeeded"
            last = (await client.post(path, json=body, headers=ASYNC)).json()["id"]
            store.fail(last, LOST)
            store.redis.delete(keys.gradients(source, 0))
            assert (await retry(client, last)).status_code == 409

    asyncio.run(ask())
