"""What an Idempotency-Key keeps from happening twice, once its job has ended; the tests do the workers' part."""

import asyncio
from typing import Any

import httpx
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.tasks.store import Store
from support.serving import compute, service, settle

SAMPLES = [{"language": tag, "prompt": "p", "chosen": "c", "rejected": "r"} for tag in ("de", "fr")]
HEADERS = {"Prefer": "respond-async", "Idempotency-Key": "once"}


def post(redis_url: str, **options: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        async with service(redis_url, **options) as client:
            return await client.post("/filter", json={"samples": SAMPLES}, headers=HEADERS)

    return asyncio.run(once())


def test_what_was_folded_in_is_not_folded_in_again_when_its_answer_has_expired(redis_url: str, store: Store) -> None:
    job_id = post(redis_url).json()["id"]
    compute(store, job_id)
    settle(store, job_id)
    (record,) = store.redis.keys(keys.idempotency("*"))
    ttl = store.redis.ttl(keys.job(job_id))
    assert store.redis.ttl(record) > 20 * ttl > 0
    store.redis.delete(keys.job(job_id))  # as its time to live would
    again = post(redis_url)
    assert again.status_code == 409
    assert job_id in again.json()["detail"]
    assert store.redis.zcard(keys.JOBS_ACTIVE) == 0
    assert store.direction("default").version == 1


def test_a_key_whose_job_failed_for_good_is_free_once_that_has_expired(redis_url: str, store: Store) -> None:
    job_id = post(redis_url).json()["id"]
    store.fail(job_id, wire.Problem(title="t", status=422, detail="d"))
    (record,) = store.redis.keys(keys.idempotency("*"))
    assert store.redis.ttl(record) <= store.redis.ttl(keys.job(job_id))
    assert post(redis_url).json()["instance"] == f"/jobs/{job_id}"
    store.redis.delete(keys.job(job_id))
    again = post(redis_url)
    assert again.status_code == 202
    assert again.json()["id"] != job_id
