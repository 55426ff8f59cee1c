"""What comes between two commands, or finds Redis full: over a real Redis, without Celery."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from congrad.contract import wire
from congrad_service import keys, scripts
from congrad_service.http.errors import NotFound
from congrad_service.jobs.acceptance import Accepted
from congrad_service.jobs.jobs import Jobs
from congrad_service.queue.publication import Asked
from congrad_worker.serving.desk import Desk
from congrad_worker.tasks import store
from redis.asyncio import Redis
from support.bench import SERVED, Bench
from support.pairs import demo_samples

from benchmarks.waiting_worker.engine import WaitingEncoder, WaitingEngine
from benchmarks.waiting_worker.settings import WaitingSettings


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A worker with made-up gradients."""
    at_once = tmp_path / "pair_ms"
    at_once.write_text("0")
    settings = WaitingSettings(pair_ms_file=at_once, dim=64, by_content=True)
    bench = Bench(redis_url, (WaitingEncoder(settings), WaitingEngine(settings)))
    yield bench
    bench.store.redis.close()


@contextmanager
def full(bench: Bench) -> Iterator[None]:
    """Redis has no room for anything."""
    bench.store.redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        bench.store.redis.config_set("maxmemory", 0)


def test_a_job_whose_creation_is_sent_again_as_its_answer_was_lost_is_one_job(bench: Bench, redis_url: str) -> None:
    request = wire.FilterRequest.model_validate({"samples": demo_samples("de", each=3), "repeats": "count"})

    async def create() -> Accepted:
        async with Redis.from_url(redis_url) as redis:
            jobs = Jobs(redis, bench.settings)
            send = jobs._acceptance._create

            async def twice(**asked: Any) -> Any:
                _, found = await send(**asked)
                job_id = found.decode()
                count = int(bench.store.redis.hget(keys.job(job_id), "chunks") or 0)
                await asyncio.to_thread(bench.run, job_id, count)
                return await send(**asked)

            jobs._acceptance._create = twice  # type: ignore[assignment] # as the client does of its own accord
            return await jobs.create(request, SERVED.model_copy(update={"fingerprint": "f00d"}), None)

    accepted = asyncio.run(create())
    assert bench.job(accepted.job_id).status is wire.JobStatus.SUCCEEDED
    again = bench.run(accepted.job_id, accepted.chunks)
    assert again.result is not None
    assert again.result.direction.languages == {"de": 3}


def test_a_job_that_is_decided_while_it_is_cancelled_is_told_as_it_is(
    bench: Bench, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, chunks = bench.create(retain=True)
    for number in range(chunks):
        bench.processor.process(job_id, number)

    async def cancel() -> wire.Job:
        async with Redis.from_url(redis_url) as redis:
            jobs = Jobs(redis, bench.settings)
            get = jobs.get

            async def slow(asked: str) -> wire.Job:
                found = await get(asked)
                monkeypatch.setattr(jobs, "get", get)
                await asyncio.to_thread(bench.judge.settle, asked)
                return found

            monkeypatch.setattr(jobs, "get", slow)
            return await jobs.cancel(job_id)

    told = asyncio.run(cancel())
    assert told == bench.job(job_id)
    assert (told.status, told.retained) == (wire.JobStatus.SUCCEEDED, False)


def test_what_was_given_up_stays_listed_for_as_long_as_it_can_be_tried_again(bench: Bench) -> None:
    redis, (given_up, _), (refused, _) = bench.store.redis, bench.create(), bench.create()
    bench.store.fail(given_up, wire.Problem(title="t", status=500, detail="d"))
    bench.store.fail(refused, wire.Problem(title="t", status=422, detail="d"))
    assert redis.ttl(keys.failed_jobs(None)) >= redis.ttl(keys.job(given_up)) > bench.settings.result_ttl


def test_a_decision_that_was_lost_waits_again_in_a_full_redis(bench: Bench) -> None:
    redis, jobs = bench.store.redis, []
    for _ in range(2):
        job_id, chunks = bench.create(samples=demo_samples("de", each=2))
        for number in range(chunks):
            bench.processor.process(job_id, number)
        jobs.append(job_id)
    assert bench.store.turn(keys.DECIDE_QUEUE) == (jobs[0], None)  # by a worker that dies
    offer = redis.register_script(scripts.OFFER)
    with full(bench):
        offer(keys=[*keys.turns(keys.DECIDE_QUEUE), keys.job(jobs[0]), keys.ready_chunks(jobs[0])], args=[""])
    assert redis.zcard(keys.turns(keys.DECIDE_QUEUE)[0]) == 2


def test_what_is_given_back_of_a_job_that_has_ended_meanwhile_waits_for_no_worker(bench: Bench) -> None:
    redis, queue, (job_id, _) = bench.store.redis, keys.gradients_queue("f00d"), bench.create()
    found = bench.store.turn(queue)
    assert found == (job_id, 0)
    bench.store.start(job_id, 0)
    bench.cancel(job_id)
    bench.store.leases.give_back()
    offer = redis.register_script(scripts.OFFER)
    offer(keys=[*keys.turns(queue), keys.job(job_id), keys.ready_chunks(job_id)], args=["0"])
    assert not bench.store.has_waiting(queue)
    assert not redis.exists(keys.ready_chunks(job_id))


def test_that_the_tasks_of_a_job_are_sent_is_noted_in_a_full_redis(bench: Bench, redis_url: str) -> None:
    job_id, _ = bench.create()

    async def mark() -> None:
        async with Redis.from_url(redis_url) as redis:
            await Jobs(redis, bench.settings).mark_enqueued(job_id)

    with full(bench):
        asyncio.run(mark())
    assert bench.store.redis.hget(keys.job(job_id), "enqueued") == b"1"


def test_a_job_that_comes_while_those_before_it_are_given_up_keeps_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint cannot be served any more: who asks for it in that moment is ended by the next look, or served."""
    queue, fail = keys.gradients_queue("f00d"), bench.store.fail
    bench.create()
    later: list[str] = []

    def slow(job_id: str, problem: wire.Problem) -> None:
        fail(job_id, problem)
        later.append(bench.create()[0])

    monkeypatch.setattr(bench.store, "fail", slow)
    Desk(bench.store).give_up_waiting(queue, "it cannot be served")
    found = bench.store.turn(queue)
    assert found is not None
    assert found[0] == later[0]


def test_gradients_that_redis_has_lost_before_their_chunk_was_complete_are_computed_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large ones are written by themselves. A Redis that ends between the two, and comes back without its last second,
    has a worker that asks once more, of its own accord."""
    redis, (job_id, chunks) = bench.store.redis, bench.create()
    monkeypatch.setattr(store, "MOST_BYTES", 0)
    complete = bench.store.complete

    def slow(*asked: Any) -> int:
        monkeypatch.setattr(bench.store, "complete", complete)
        redis.delete(keys.gradients(job_id, 0))
        return complete(*asked)

    monkeypatch.setattr(bench.store, "complete", slow)
    assert not bench.processor.process(job_id, 0)
    assert redis.sismember(keys.pending(job_id), "0")
    assert not redis.exists(keys.doing(job_id, keys.gradients_work(0)))
    assert bench.run(job_id, chunks).status is wire.JobStatus.SUCCEEDED


def test_what_expires_while_a_worker_is_at_it_does_not_come_back(bench: Bench) -> None:
    """As a few fields, which nothing can read and nothing takes away."""
    redis, desk, (job_id, _) = bench.store.redis, Desk(bench.store), bench.create()
    asked = Asked(id="p1", replaces="f00d", model="m", adapter=None, created=0.0, sequence=0)
    redis.delete(keys.job(job_id))
    bench.store.uncount(job_id, keys.gradients_work(0))
    desk.note(asked, "served")
    desk.name(asked, "name", "fingerprint")
    assert not redis.exists(keys.job(job_id), keys.publication(asked.id))


def test_a_piece_that_is_only_given_up_is_no_try_in_a_full_redis(bench: Bench) -> None:
    job_id, _ = bench.create()
    bench.store.start(job_id, 0)
    with full(bench):
        bench.store.uncount(job_id, keys.gradients_work(0))
    assert bench.store.redis.hget(keys.job(job_id), f"attempts:{keys.gradients_work(0)}") == b"0"


def test_a_job_that_expires_while_it_is_cancelled_is_not_there(
    bench: Bench, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, _ = bench.create()

    async def cancel() -> None:
        async with Redis.from_url(redis_url) as redis:
            jobs = Jobs(redis, bench.settings)
            get = jobs.get

            async def slow(asked: str) -> wire.Job:
                found = await get(asked)
                await redis.delete(keys.job(asked))
                return found

            monkeypatch.setattr(jobs, "get", slow)
            await jobs.cancel(job_id)

    with pytest.raises(NotFound):
        asyncio.run(cancel())
