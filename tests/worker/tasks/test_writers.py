"""Several decide workers over a real Redis, without Celery: one of them writes a direction at a time."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.tasks import metrics
from congrad_worker.tasks.deciding import writing as writing_module
from congrad_worker.tasks.patience import Patience
from redis import Redis
from redis.exceptions import OutOfMemoryError
from support.bench import Bench
from support.pairs import demo_samples

from benchmarks.waiting_worker.engine import WaitingEncoder, WaitingEngine
from benchmarks.waiting_worker.settings import WaitingSettings


@pytest.fixture
def workers(redis_url: str, tmp_path: Path) -> Iterator[list[Bench]]:
    """Two of them, and made-up gradients."""
    at_once = tmp_path / "pair_ms"
    at_once.write_text("0")
    settings = WaitingSettings(pair_ms_file=at_once, dim=64, by_content=True)
    both = [Bench(redis_url, (WaitingEncoder(settings), WaitingEngine(settings))) for _ in range(2)]
    yield both
    for bench in both:
        bench.store.redis.close()


@pytest.fixture
def beside() -> Iterator[Callable[..., Future[Any]]]:
    """Runs something in a thread of its own."""
    with ThreadPoolExecutor(2) as pool:
        yield pool.submit


@pytest.fixture
def has_paused(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Whether somebody waits for another."""
    seen = threading.Event()
    pause = Patience.pause

    def paused(patience: Patience) -> None:
        pause(patience)
        seen.set()

    monkeypatch.setattr(Patience, "pause", paused)
    return seen


def computed(bench: Bench, **body: Any) -> str:
    """A job whose gradients are there."""
    job_id, chunks = bench.create(**body)
    for number in range(chunks):
        bench.processor.process(job_id, number)
    return job_id


def held(bench: Bench, direction: str = "default") -> str:
    """A direction that a worker is about to write, for a job that has not ended."""
    job_id = computed(bench)
    assert bench.store.leases.may_write(job_id, direction)
    return job_id


def races() -> float:
    return metrics.RACES._value.get()  # type: ignore[no-any-return] # prometheus_client has no other way


def test_jobs_of_one_direction_are_decided_in_turns_and_none_for_nothing(
    workers: list[Bench], beside: Callable[..., Future[Any]]
) -> None:
    jobs = [computed(workers[0], samples=demo_samples(tag, each=6)) for tag in ("de", "fr", "ja", "it")]
    before = races()

    def settle(bench: Bench, own: list[str]) -> None:
        for job_id in own:
            bench.judge.settle(job_id)

    for done in [beside(settle, workers[number], jobs[number::2]) for number in range(2)]:
        done.result(30)
    assert sorted(workers[0].result(job_id).direction.version for job_id in jobs) == [1, 2, 3, 4]
    assert races() == before
    assert not workers[0].store.redis.exists(keys.writer("default"))


def test_another_direction_and_what_changes_none_wait_for_nobody(workers: list[Bench]) -> None:
    first, second = workers
    retained = computed(first, retain=True)
    first.judge.settle(retained)
    held(first)
    for job_id in (
        second.rescore(retained, retain=True),
        computed(second, update=False),
        computed(second, direction="other"),
    ):
        second.judge.settle(job_id)
        assert second.job(job_id).status is wire.JobStatus.SUCCEEDED


def test_whoever_waits_goes_on_when_the_writer_has_fallen_silent(
    workers: list[Bench], beside: Callable[..., Future[Any]], has_paused: threading.Event
) -> None:
    first, second = workers
    held(first)
    job_id = computed(second)
    done = beside(second.judge.settle, job_id)
    assert has_paused.wait(10)
    assert second.job(job_id).status is not wire.JobStatus.SUCCEEDED
    first.store.redis.pexpire(keys.writer("default"), 1)  # as after seconds without a heartbeat
    done.result(30)
    assert second.job(job_id).status is wire.JobStatus.SUCCEEDED


def test_a_writer_that_is_there_stays_the_writer(workers: list[Bench]) -> None:
    first, second = workers
    job_id = held(first)
    first.store.start_decision(job_id)
    first.store.redis.pexpire(keys.writer("default"), 200)
    first.store.leases.beat("decide", "{}")
    assert first.store.redis.pttl(keys.writer("default")) > 1_000
    assert not second.store.leases.may_write(job_id, "default")
    assert first.store.leases.may_write(job_id, "default")


def test_a_job_that_is_cancelled_waits_no_longer(
    workers: list[Bench],
    beside: Callable[..., Future[Any]],
    has_paused: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("congrad_worker.tasks.patience.LOOK_S", 0.0)
    first, second = workers
    held(first)
    job_id = computed(second)
    done = beside(second.judge.settle, job_id)
    assert has_paused.wait(10)
    first.cancel(job_id)
    done.result(30)
    assert second.job(job_id).status is wire.JobStatus.CANCELLED
    assert first.store.redis.get(keys.writer("default")) == first.store.worker_id.encode()


def test_who_has_waited_for_long_enough_goes_on_beside_the_other(
    workers: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing_module, "MOST_PAUSES", 2)
    first, second = workers
    held(first)
    job_id = computed(second)
    second.judge.settle(job_id)
    assert second.result(job_id).direction.version == 1


def test_a_job_ends_in_a_full_redis(workers: list[Bench]) -> None:
    job_id = computed(workers[0])
    redis = workers[0].store.redis
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            redis.set("congrad:test", "x")
        assert workers[0].store.leases.may_write(job_id, "default")
        workers[0].judge.settle(job_id)
        assert workers[0].job(job_id).status is wire.JobStatus.SUCCEEDED
    finally:
        redis.config_set("maxmemory", 0)


def test_who_reads_many_gradients_holds_up_nobody(
    workers: list[Bench],
    beside: Callable[..., Future[Any]],
    has_paused: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = workers
    large = computed(first, samples=demo_samples("de", "fr", "ja", each=8))
    assert first.store.redis.hget(keys.job(large), "chunks") != b"1"
    small = computed(second, samples=demo_samples("it", each=1))
    reads, may_go_on, read = threading.Event(), threading.Event(), first.store.gradients

    def slow(*args: Any) -> Any:
        reads.set()
        assert may_go_on.wait(20)
        return read(*args)

    monkeypatch.setattr(first.store, "gradients", slow)
    reading = beside(first.judge.settle, large)
    assert reads.wait(20)
    try:
        second.judge.settle(small)
    finally:
        may_go_on.set()
    reading.result(20)
    assert not has_paused.is_set()
    assert [second.result(job).direction.version for job in (small, large)] == [1, 2]


def test_what_another_has_written_while_gradients_were_read_is_read_before_anything_is_decided(
    workers: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = workers
    second.judge.settle(computed(second, samples=demo_samples("de", each=3)))  # and has the direction in memory
    jobs = [computed(first, samples=demo_samples(tag, each=3)) for tag in ("fr", "ja")]
    assert first.store.leases.may_write(jobs[0], "default")
    before, read = races(), second.judge._read

    def slow(*args: Any) -> Any:
        found = read(*args)
        first.judge.settle(jobs[0])
        return found

    monkeypatch.setattr(second.judge, "_read", slow)
    second.judge.settle(jobs[1])
    assert second.result(jobs[1]).direction.version == 3
    assert races() == before


@contextmanager
def lost(redis: Redis, *jobs: str) -> Iterator[None]:
    """What comes about in the block is lost, as after a kill, or where a replica takes over that had not been told."""
    of_jobs = [key for job in jobs for key in cast("list[bytes]", redis.keys(f"{keys.job(job)}*"))]
    names = [*(key.encode() for key in [*keys.life("default"), keys.JOBS_ACTIVE]), *of_jobs]
    kept = {key: (redis.dump(key), max(redis.pttl(key), 0)) for key in names}
    yield
    for key, (dumped, left) in kept.items():
        redis.delete(key)
        if dumped is not None:
            redis.restore(key, left, dumped)


def test_a_version_that_redis_has_lost_is_not_taken_for_the_one_that_has_its_number(workers: list[Bench]) -> None:
    first, second = workers
    redis, more = first.store.redis, demo_samples("fr")
    first.judge.settle(computed(first, samples=demo_samples("de", each=3)))
    with lost(redis):
        gone = computed(second, samples=more[:4])
        second.judge.settle(gone)  # and has version 2 in memory
    redis.delete(*redis.keys(f"{keys.job(gone)}*"))
    jobs = [computed(first, samples=more[4:6]), computed(second, samples=more[6:9])]
    for bench, job in zip(workers, jobs, strict=True):
        bench.judge.settle(job)
    assert [first.result(job).direction.version for job in jobs] == [2, 3]
    assert first.result(jobs[1]).direction.languages == {"de": 3, "fr": 5}


def test_a_job_that_makes_a_version_of_the_same_number_again_makes_another_one(workers: list[Bench]) -> None:
    """Whatever was folded in before it may have been something else the first time."""
    first, second = workers
    first.judge.settle(computed(first, samples=demo_samples("de", each=3)))
    jobs = [computed(first, samples=demo_samples(tag, each=each)) for tag, each in (("fr", 2), ("ja", 3), ("it", 4))]
    with lost(first.store.redis, *jobs):
        for job in (jobs[0], jobs[2]):
            second.judge.settle(job)  # and has version 3 in memory, which the last job made
    for job in (jobs[1], jobs[2]):
        first.judge.settle(job)
    second.judge.settle(jobs[0])
    assert second.result(jobs[0]).direction.version == 4
    assert second.result(jobs[0]).direction.languages == {"de": 3, "fr": 2, "ja": 3, "it": 4}
