"""`GET /jobs`, over a real Redis; the tests do the workers' part."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_service.scripts.limits import RECENT
from congrad_worker.tasks.store import Store
from support.hands import compute_chunk
from support.serving import compute, service, settle, submit


async def jobs(client: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    response = await client.get(f"/jobs{query}")
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


def test_a_row_says_of_a_job_what_the_job_itself_says(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url, chunk_tokens=1) as client:
            ids = [await submit(client, ["de", "fr", "sw"], direction=name) for name in "abcde"]
            _, running, succeeded, failed, cancelled = ids
            compute_chunk(store, running, 1)
            compute(store, succeeded)
            settle(store, succeeded)
            store.start(failed, 0)
            store.fail(failed, wire.Problem(title="t", status=500, detail="d"))
            await client.delete(f"/jobs/{cancelled}")
            rows = {row["id"]: row for row in await jobs(client)}
            assert list(rows) == ids[::-1]
            assert [rows[job]["status"] for job in ids] == ["queued", "running", "succeeded", "failed", "cancelled"]
            assert [rows[job]["progress"]["done"] for job in ids] == [0, 1, 3, 0, 0]
            for job_id, row in rows.items():
                job = (await client.get(f"/jobs/{job_id}")).json()
                answer = job.pop("result")
                assert job.items() <= row.items()
                assert row["checkpoint"] == "policy"
                assert (row["ended"] is not None) == (row["status"] not in ("queued", "running"))
                if answer is None:
                    assert (row["kept"], row["dropped"], row["timing"]) == (None, None, None)
                else:
                    assert (row["kept"], row["dropped"]) == (answer["summary"]["kept"], answer["summary"]["dropped"])
                    assert row["timing"] == answer["timing"]
                    duration = datetime.fromisoformat(row["ended"]) - datetime.fromisoformat(row["created"])
                    assert duration.total_seconds() == pytest.approx(answer["timing"]["total_s"], abs=0.5)

    asyncio.run(ask())


def test_a_list_has_the_latest_jobs_that_are_still_there(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            assert await jobs(client) == []
            ids = [await submit(client, ["de"]) for _ in range(6)]
            store.redis.delete(keys.job(ids[5]), keys.job(ids[3]))  # as if they had expired
            assert [row["id"] for row in await jobs(client, "?limit=3")] == [ids[4], ids[2], ids[1]]
            assert [row["id"] for row in await jobs(client)] == [ids[4], ids[2], ids[1], ids[0]]
            for limit in ("0", str(RECENT + 1), "all"):
                assert (await client.get(f"/jobs?limit={limit}")).status_code == 422

    asyncio.run(ask())


def test_only_so_many_jobs_are_remembered_for_the_list_and_not_for_ever(redis_url: str, store: Store) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            listed = keys.recent_jobs(None)
            store.redis.zadd(listed, {str(number): number for number in range(RECENT)})
            job_id = await submit(client, ["de"])
            assert store.redis.zcard(listed) == RECENT
            assert store.redis.zscore(listed, "0") is None
            assert [row["id"] for row in await jobs(client)] == [job_id]
            assert 0 < store.redis.ttl(listed) <= 2 * 86_400

    asyncio.run(ask())
