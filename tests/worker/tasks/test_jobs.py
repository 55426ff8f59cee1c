"""Jobs over a real Redis, step by step without Celery: what redelivery, races and cancellation do."""

import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock, patch

import pytest
import redis
import torch
from congrad.contract import wire
from congrad_service import keys
from congrad_service.queue.registry import Role
from congrad_worker.errors import DeviceLostError
from congrad_worker.gradients.device import are_lost
from congrad_worker.gradients.layouts.budget import Budget
from congrad_worker.tasks import patience, store
from congrad_worker.tasks.batches import work_off
from congrad_worker.tasks.chunks import MAX_ATTEMPTS
from congrad_worker.tasks.store import Store
from support.bench import Bench
from support.pairs import demo_samples
from support.stored import has_gradients


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(redis_url)
    yield bench
    bench.store.redis.close()


def test_only_the_last_chunk_asks_for_the_decision_and_any_redelivery_may(bench: Bench) -> None:
    job_id, chunks = bench.create()
    assert chunks > 2
    order = [chunks - 1, *range(chunks - 1)]
    assert [bench.processor.process(job_id, number) for number in order] == [False] * (chunks - 1) + [True]
    # A worker that died between the last chunk and the asking: its task comes again, and asks.
    assert bench.processor.process(job_id, 0)


def test_redis_is_asked_twice_for_a_chunk_and_three_times_for_its_decision(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time is most of a millisecond of a small request, on a path on which nothing else goes on."""
    for _ in range(2):  # scripts are known then, and the direction is in memory
        bench.run(*bench.create(direction="d"))
    job_id, _ = bench.create(samples=demo_samples("de", each=1), direction="d", repeats="count")
    execute, asked = bench.store.redis.execute_command, []

    def counted(*command: Any, **options: Any) -> Any:
        asked.append(command[0])
        return execute(*command, **options)

    monkeypatch.setattr(bench.store.redis, "execute_command", counted)
    bench.processor.process(job_id, 0)
    assert len(asked) == 2
    bench.judge.settle(job_id)
    assert len(asked) == 5
    assert bench.result(job_id).decisions


@pytest.mark.parametrize("most", [0, 10**9])
def test_gradients_of_any_size_are_there_when_their_chunk_is_complete(
    most: int, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_BYTES", most)
    job_id, count = bench.create()
    for number in range(count):
        assert bench.processor.process(job_id, number) == (number == count - 1)
        assert has_gradients(bench.store, job_id, number)
        assert not bench.store.redis.exists(keys.doing(job_id, keys.gradients_work(number)))
    bench.judge.settle(job_id)
    assert bench.result(job_id).decisions
    assert list(bench.store.redis.scan_iter("congrad:job:*:*")) == []


def test_a_message_is_of_use_until_the_gradients_are_there_and_the_decision_is_asked_for(bench: Bench) -> None:
    job_id, count = bench.create(samples=demo_samples("de", each=1))
    assert count == 1
    assert bench.store.is_wanted(job_id, 0, "f00d")
    assert not bench.store.is_wanted(job_id, 0, "beef"), "another checkpoint's"
    bench.processor.process(job_id, 0)
    assert bench.store.is_wanted(job_id, 0, "f00d"), "whoever was to ask may have died"
    bench.store.note_asked(job_id)
    assert not bench.store.is_wanted(job_id, 0, "f00d")
    cancelled, _ = bench.create()
    bench.cancel(cancelled)
    assert not bench.store.is_wanted(cancelled, 0, "f00d")
    assert not bench.store.is_wanted("none", 0, "f00d")


def test_a_redelivered_chunk_and_a_redelivered_decision_change_nothing(bench: Bench) -> None:
    job_id, chunks = bench.create()
    bench.processor.process(job_id, 0)
    bench.processor.process(job_id, 0)
    first = bench.run(job_id, chunks)
    assert first.status is wire.JobStatus.SUCCEEDED
    direction = bench.store.redis.hgetall(keys.direction("default"))
    assert bench.run(job_id, chunks) == first
    assert bench.store.redis.hgetall(keys.direction("default")) == direction
    assert list(bench.store.redis.scan_iter("congrad:job:*:*")) == []
    assert bench.store.redis.zcard(keys.JOBS_ACTIVE) == 0


def test_a_lost_race_is_decided_again_on_the_new_version(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    others = demo_samples("de", each=5)[3:] + demo_samples("it", each=2)
    early, late = bench.create(), bench.create(samples=others)
    for job_id, chunks in (early, late):
        for number in range(chunks):
            bench.processor.process(job_id, number)
    read = bench.judge.directions.read
    races: list[int] = []

    def read_and_be_overtaken(name: str, *_: Any) -> Any:
        record = read(name)
        if not races:
            races.append(record.version)
            bench.judge.settle(late[0])  # commits between our reading and our commit
        return record

    monkeypatch.setattr(bench.judge.directions, "read", read_and_be_overtaken)
    bench.judge.settle(early[0])
    first, second = bench.job(late[0]).result, bench.job(early[0]).result
    assert first is not None
    assert second is not None
    assert (first.direction.version, second.direction.version) == (1, 2)
    assert second.direction.languages == {"de": 5, "fr": 3, "it": 2}


def test_a_reset_during_a_decision_is_not_undone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(*bench.create())
    job_id, chunks = bench.create()
    for number in range(chunks):
        bench.processor.process(job_id, number)
    read = bench.judge.directions.read
    resets: list[str] = []

    def read_and_be_reset(name: str, *_: Any) -> Any:
        record = read(name)
        if not resets:
            resets.append(name)
            bench.reset(name)
            bench.run(*bench.create(samples=demo_samples("it", each=2)))  # version 1 again, in another life
        return record

    monkeypatch.setattr(bench.judge.directions, "read", read_and_be_reset)
    bench.judge.settle(job_id)
    result = bench.job(job_id).result
    assert result is not None
    assert result.direction.languages == {"de": 3, "fr": 3, "it": 2}


def test_of_a_job_that_is_cancelled_no_further_batch_is_computed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of a large model takes minutes, and whoever is next waits for its end."""
    monkeypatch.setattr(patience, "LOOK_S", 0.0)
    cancelled, _ = bench.create()
    engine = bench.processor._engine
    engine._budget = Budget(1)
    compute, sizes = engine.batch_gradients, list[int]()

    def compute_and_be_cancelled(pairs: Any, layout: Any) -> Any:
        sizes.append(len(pairs))
        bench.cancel(cancelled)
        return compute(pairs, layout)

    monkeypatch.setattr(engine, "batch_gradients", compute_and_be_cancelled)
    assert not bench.processor.process(cancelled, 0)
    assert sizes == [1]
    assert not has_gradients(bench.store, cancelled, 0)
    monkeypatch.undo()
    bench.run(*bench.create())


def test_of_chunks_that_are_computed_together_none_goes_on_where_all_jobs_are_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LOOK_S", 0.0)
    jobs = [bench.create(samples=demo_samples("de", each=1))[0] for _ in range(3)]
    engine = bench.processor._engine
    engine._budget = Budget(1)
    compute, sizes, has_ended = engine.batch_gradients, list[int](), bench.store.has_ended

    def compute_and_be_cancelled(pairs: Any, layout: Any) -> Any:
        sizes.append(len(pairs))
        for job_id in jobs:
            bench.cancel(job_id)
        return compute(pairs, layout)

    def look_no_more_after_the_end(job_id: str) -> bool:
        ended = has_ended(job_id)
        monkeypatch.setattr(patience, "LOOK_S", 3600.0 if ended else 0.0)
        return ended

    monkeypatch.setattr(bench.store, "has_ended", look_no_more_after_the_end)
    monkeypatch.setattr(engine, "batch_gradients", compute_and_be_cancelled)
    work_off(bench.processor, "task", [(job_id, 0) for job_id in jobs], lambda _: None)
    assert sizes == [1]


def test_while_redis_is_away_gradients_are_computed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask it takes seconds then."""
    asked: list[str] = []

    def away(job_id: str) -> bool:
        asked.append(job_id)
        raise redis.ConnectionError

    monkeypatch.setattr(patience, "LOOK_S", 0.0)
    monkeypatch.setattr(bench.store, "has_ended", away)
    demand = patience.Demand(bench.store, ["job"])
    for _ in range(3):
        demand()
    assert asked == ["job"]


def test_a_cancelled_job_is_never_folded_in(bench: Bench) -> None:
    job_id, chunks = bench.create()
    bench.processor.process(job_id, 0)
    bench.cancel(job_id)
    job = bench.run(job_id, chunks)
    assert job.status is wire.JobStatus.CANCELLED
    assert not bench.store.redis.exists(keys.direction("default"))
    assert list(bench.store.redis.scan_iter("congrad:job:*:*")) == []


def test_who_computes_a_chunk_of_a_job_that_ends_meanwhile_rests_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, _ = bench.create()
    compute = bench.processor.compute

    def be_cancelled(*chunks: Any) -> Any:
        bench.cancel(job_id)
        return compute(*chunks)

    monkeypatch.setattr(bench.processor, "compute", be_cancelled)
    assert not bench.processor.process(job_id, 0)
    assert list(bench.store.redis.scan_iter("congrad:job:*:*")) == []


def test_a_chunk_that_is_slower_than_the_visibility_timeout_is_no_failed_attempt(bench: Bench) -> None:
    job_id, _ = bench.create()
    slow = bench.settings.model_copy(update={"visibility_timeout": 0})  # no heartbeat says any longer that it is at it
    for _ in range(MAX_ATTEMPTS + 1):
        bench.store.redis.delete(keys.doing(job_id, "gradients:0"))
        worker = Store(slow)
        assert worker.start(job_id, 0).attempts == 1
        worker.leases.beat(Role.GRADIENTS, "{}")
    bench.store.redis.delete(keys.doing(job_id, "gradients:0"), keys.workers(Role.GRADIENTS))
    assert bench.store.start(job_id, 0).attempts == 2, "that one has died"


def test_a_chunk_that_never_ends_is_given_up(bench: Bench) -> None:
    job_id, _ = bench.create()
    for _ in range(MAX_ATTEMPTS):
        bench.store.start(job_id, 0)  # and the worker dies
    assert not bench.processor.process(job_id, 0)
    job = bench.job(job_id)
    assert job.status is wire.JobStatus.FAILED
    assert job.error is not None
    assert job.error.detail == f"chunk 0 was given up: it was started {MAX_ATTEMPTS} times without an end"
    assert job.error.instance == f"/jobs/{job_id}"
    assert bench.store.redis.hget(keys.job(job_id), "starts") == str(MAX_ATTEMPTS).encode()


def test_an_error_in_the_engine_fails_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(bench.processor, "compute", explode)
    job_id, chunks = bench.create()
    job = bench.run(job_id, chunks)
    assert job.error is not None
    assert (job.error.status, job.error.detail) == (500, "the gradients of chunk 0 failed: RuntimeError: out of luck")


def test_gradients_of_another_checkpoint_are_never_mixed_in(bench: Bench) -> None:
    bench.run(*bench.create())
    before = bench.store.redis.hgetall(keys.direction("default"))
    job = bench.run(*bench.create(fingerprint="beef"))
    assert job.error is not None
    assert job.error.status == 409
    assert bench.store.redis.hgetall(keys.direction("default")) == before


def test_a_heartbeat_that_is_under_way_does_not_bring_back_what_has_ended(bench: Bench) -> None:
    job_id, _ = bench.create()
    work = keys.gradients_work(0)
    begun, may_end = threading.Event(), threading.Event()
    beat = bench.store.leases._beat

    def slow(**options: Any) -> None:
        begun.set()
        assert may_end.wait(10)
        beat(**options)

    bench.store.start(job_id, 0)
    with patch.object(bench.store.leases, "_beat", slow):
        beating = threading.Thread(target=bench.store.leases.beat, args=("gradients", "{}"))
        beating.start()
        assert begun.wait(10)
        resting = threading.Thread(target=bench.store.leases.rest)
        resting.start()
        resting.join(0.2)  # time enough to be over before the heartbeat, if nothing keeps it
        may_end.set()
        beating.join()
        resting.join()
    assert not bench.store.redis.exists(keys.doing(job_id, work))


def test_a_chunk_is_left_to_another_process_where_the_accelerator_of_its_own_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine has no GPU whose context could end: its error is raised, and every later call said to raise it."""
    job_id, chunks = bench.create()

    def asserts(*_: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with monkeypatch.context() as patched:
        patched.setattr(bench.processor._engine, "batch_gradients", asserts)
        patched.setattr("congrad_worker.gradients.engine.are_lost", lambda _: True)
        with pytest.raises(DeviceLostError, match="cpu computes nothing more"):
            bench.processor.process(job_id, 0)
        assert bench.job(job_id).status is wire.JobStatus.RUNNING
        patched.setattr("congrad_worker.gradients.engine.are_lost", lambda _: False)
        other, _ = bench.create()
        assert not bench.processor.process(other, 0)
        assert bench.job(other).status is wire.JobStatus.FAILED
    assert bench.run(job_id, chunks).status is wire.JobStatus.SUCCEEDED


def test_a_device_is_lost_when_it_computes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not are_lost([torch.device("cpu")])
    for text, is_lost in {"CUDA error: device-side assert triggered": True, "CUDA error: out of memory": False}.items():
        monkeypatch.setattr(torch, "ones", Mock(side_effect=RuntimeError(text)))
        assert are_lost([torch.device("cuda", 0)]) == is_lost
