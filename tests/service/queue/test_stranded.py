"""Jobs whose checkpoint nobody serves any more, over a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_service.jobs.jobs import Jobs
from congrad_service.queue.queue import Queue
from congrad_service.queue.registry import Registry, Role
from congrad_service.queue.stranded import AWAY_S, Stranded
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis
from support.bench import SERVED
from support.serving import settings

WORKERS = keys.workers(Role.GRADIENTS)
PAIR = {"prompt": "p", "chosen": "c", "rejected": "r", "language": "de"}


def play(redis_url: str, act: Callable[[Stranded, Jobs], Awaitable[None]]) -> None:
    """Jobs of one Redis, and who watches them."""

    async def once() -> None:
        redis, own = Redis.from_url(redis_url), settings(redis_url)
        queue = Queue(own)
        try:
            await act(Stranded(redis, queue, Registry(redis), own), Jobs(redis, own))
        finally:
            queue.close()
            await redis.aclose()

    asyncio.run(once())


async def create(jobs: Jobs, fingerprint: str) -> str:
    served = SERVED.model_copy(update={"fingerprint": fingerprint})
    return (await jobs.create(wire.FilterRequest.model_validate({"samples": [PAIR]}), served, None)).job_id


def test_a_job_is_ended_when_its_checkpoint_has_been_away_for_an_hour(redis_url: str, store: Store) -> None:
    async def act(stranded: Stranded, jobs: Jobs) -> None:
        served, gone = await create(jobs, SERVED.fingerprint), await create(jobs, "gone")
        queues = [keys.gradients_queue(fingerprint) for fingerprint in (SERVED.fingerprint, "gone")]
        for queue in queues:
            store.redis.lpush(queue, "a task")
        assert await stranded.sweep(0.0) == []
        assert await stranded.sweep(AWAY_S - 1) == []
        assert await stranded.sweep(AWAY_S) == [gone]
        assert await stranded.sweep(2 * AWAY_S) == []
        assert [store.redis.exists(queue) for queue in queues] == [1, 0]
        ended = await jobs.get(gone)
        assert ended.status is wire.JobStatus.FAILED
        assert ended.error is not None
        assert ended.error.status == 503
        assert "no worker has served checkpoint 'demo' for 60 minutes" in ended.error.detail
        assert (await jobs.get(served)).status is wire.JobStatus.QUEUED
        assert store.redis.zrange(keys.JOBS_ACTIVE, 0, -1) == [served.encode()]

    play(redis_url, act)


def test_a_checkpoint_that_comes_back_in_between_begins_another_hour(redis_url: str, store: Store) -> None:
    async def act(stranded: Stranded, jobs: Jobs) -> None:
        job = await create(jobs, SERVED.fingerprint)
        store.redis.rename(WORKERS, "away")
        assert await stranded.sweep(0.0) == []
        store.redis.rename("away", WORKERS)
        assert await stranded.sweep(AWAY_S) == []
        store.redis.rename(WORKERS, "away")
        assert await stranded.sweep(AWAY_S + 1) == []
        assert await stranded.sweep(2 * AWAY_S) == []
        assert await stranded.sweep(2 * AWAY_S + 1) == [job]

    play(redis_url, act)


def test_a_job_that_comes_while_others_are_given_up_keeps_its_turn(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(stranded: Stranded, jobs: Jobs) -> None:
        gone, fail = await create(jobs, "gone"), stranded._fail
        later: list[str] = []

        async def slow(*asked: Any) -> None:
            await fail(*asked)
            later.append(await create(jobs, "gone"))

        monkeypatch.setattr(stranded, "_fail", slow)
        await stranded.sweep(0.0)
        assert await stranded.sweep(AWAY_S) == [gone]
        assert store.turn(keys.gradients_queue("gone")) == (later[0], 0)

    play(redis_url, act)


def test_a_job_that_comes_late_waits_for_an_hour_of_its_own(redis_url: str, store: Store) -> None:
    """Whether others were given up just before, or are in a moment."""

    async def act(stranded: Stranded, jobs: Jobs) -> None:
        first = await create(jobs, "gone")
        store.redis.lpush(keys.gradients_queue("gone"), "a task")
        assert await stranded.sweep(0.0) == []
        second = await create(jobs, "gone")
        assert await stranded.sweep(AWAY_S - 30) == []
        assert await stranded.sweep(AWAY_S) == [first]
        assert store.redis.exists(keys.gradients_queue("gone")), "a message may be the second one's"
        third = await create(jobs, "gone")
        assert await stranded.sweep(AWAY_S + 30) == []
        assert await stranded.sweep(2 * AWAY_S - 30) == [second]
        assert await stranded.sweep(2 * AWAY_S + 30) == [third]
        assert not store.redis.exists(keys.gradients_queue("gone"))

    play(redis_url, act)


def test_a_job_that_only_waits_for_its_decision_needs_no_checkpoint(redis_url: str, store: Store) -> None:
    async def act(stranded: Stranded, jobs: Jobs) -> None:
        job = await create(jobs, "gone")
        store.start(job, 0)
        assert store.complete(job, 0, b"gradients") == 0
        await stranded.sweep(0.0)
        assert await stranded.sweep(AWAY_S) == []

    play(redis_url, act)
