"""Chunks of several jobs in one batch, over a real Redis: what is taken along, and that each stands for itself."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_service.queue.registry import Role
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.compressed import Gradients
from congrad_worker.tasks.batches import work_off
from congrad_worker.tasks.chunks import Piece
from congrad_worker.tasks.records import ChunkResult
from congrad_worker.tasks.store import Store
from redis.exceptions import OutOfMemoryError
from support.bench import SERVED, Bench
from support.pairs import demo_samples
from support.stored import chunk_of, has_gradients

QUEUE = keys.gradients_queue(SERVED.fingerprint)


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(redis_url)
    yield bench
    bench.store.redis.close()


class Counted:
    """The engine's own gradients; counts the batches that it is asked for."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, poison: str = ""):
        self._compute = bench.processor._engine.compute
        self._poison = bench.processor._encoder._tokenizer(poison)["input_ids"] if poison else None
        self.sizes: list[int] = []
        monkeypatch.setattr(bench.processor._engine, "compute", self)

    def __call__(self, pairs: Sequence[EncodedPair], *more: Any) -> Gradients:
        self.sizes.append(len(pairs))
        if self._poison is not None and any(pair.prompt_ids[-3:] == self._poison[-3:] for pair in pairs):
            raise RuntimeError("poison")
        return self._compute(pairs, *more)


def single(bench: Bench, count: int) -> list[str]:
    """Jobs of one pair each."""
    samples = demo_samples("de", "fr", each=(count + 1) // 2)[:count]
    return [bench.create(samples=[sample])[0] for sample in samples]


def take(bench: Bench) -> list[Piece]:
    return bench.store.chunk_turns(QUEUE, bench.processor.batch_bytes)


def work(bench: Bench, pieces: Sequence[Piece]) -> list[str]:
    """The jobs that are complete then."""
    complete: list[str] = []
    work_off(bench.processor, "gradients[1]", pieces, complete.append)
    return complete


def test_requests_that_wait_together_are_one_batch_and_a_lone_one_waits_for_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(bench, monkeypatch)
    (lone,) = single(bench, 1)
    assert work(bench, take(bench)) == [lone]
    jobs = single(bench, 8)
    assert work(bench, take(bench)) == jobs
    assert counted.sizes == [1, 8]
    assert take(bench) == []
    assert [work(bench, [(job, 0)]) for job in jobs] == [[job] for job in jobs], "their messages ask once more"
    for job in jobs:
        bench.store.note_asked(job)
    assert [work(bench, [(job, 0)]) for job in jobs] == [[] for _ in jobs], "and not where somebody has"
    assert {bench.store.redis.hget(keys.job(job), f"attempts:{keys.gradients_work(0)}") for job in jobs} == {b"1"}
    assert counted.sizes == [1, 8]
    for job in jobs:
        bench.judge.settle(job)
        assert bench.job(job).status is wire.JobStatus.SUCCEEDED
    assert not list(bench.store.redis.scan_iter(keys.doing("*", "*")))


def test_gradients_are_those_that_each_request_has_alone(bench: Bench) -> None:
    jobs = single(bench, 4)
    pieces = take(bench)
    assert pieces == [(job, 0) for job in jobs]
    work(bench, pieces)
    together = [bench.store.redis.get(keys.gradients(job, 0)) for job in jobs]
    for job, found in zip(jobs, together, strict=True):
        samples = chunk_of(bench.store, job, 0)
        assert samples is not None
        (alone,) = bench.processor.compute([samples])
        assert isinstance(found, bytes)
        result = ChunkResult.parse(found)
        assert (result.ids, result.pairs) == (alone.ids, alone.pairs)
        np.testing.assert_allclose(result.samples.norms, alone.samples.norms, rtol=1e-4)
        units = [r.samples.units.astype(np.float32)[0] for r in (result, alone)]
        assert units[0] @ units[1] == pytest.approx(1, abs=1e-3)


def test_no_more_is_taken_than_one_batch_holds_and_in_turn(bench: Bench) -> None:
    jobs = single(bench, 6)
    sizes = [bench.store.redis.strlen(keys.chunk(job, 0)) for job in jobs]
    assert bench.store.chunk_turns(QUEUE, sum(sizes[:3])) == [(job, 0) for job in jobs[:3]]
    assert bench.store.chunk_turns(QUEUE, sizes[3] - 1) == [(jobs[3], 0)], "the first, however large"
    assert bench.store.turn(QUEUE) == (jobs[4], 0)
    assert bench.store.chunk_turns(QUEUE, 10**9) == [(jobs[5], 0)]


def test_a_chunk_that_was_begun_before_is_computed_alone(bench: Bench) -> None:
    """What a worker dies of is started five times at most; what was beside it once must not be taken for it."""
    jobs = single(bench, 4)
    other = Store(bench.settings)
    begun = other.chunk_turns(QUEUE, 10**9)
    assert len(begun) == 4
    for job, number in begun:
        other.start(job, number)
    other.leases.give_back()  # as `recovery` does when a worker has died, but for the attempts
    for job in jobs[:2]:
        bench.store.redis.hset(keys.job(job), "attempts:gradients:0", 3)
    turns = [take(bench) for _ in range(4)]
    assert sorted(turns) == sorted([(job, 0)] for job in jobs)


def test_a_request_that_fails_leaves_those_beside_it_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = demo_samples("de", each=4)
    counted = Counted(bench, monkeypatch, poison=rows[1]["prompt"])
    jobs = [bench.create(samples=[row])[0] for row in rows]
    assert work(bench, take(bench)) == [jobs[0], *jobs[2:]]
    assert counted.sizes == [4, 1, 1, 1, 1]
    failed = bench.job(jobs[1])
    assert failed.status is wire.JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.detail == "the gradients of chunk 0 failed: RuntimeError: poison"


def test_a_request_that_cannot_be_encoded_leaves_those_beside_it_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(bench, monkeypatch)
    rows = demo_samples("de", each=3)
    wrong = {"language": "de", "prompt": "p", "completion": "c", "label": True}
    jobs = [bench.create(samples=[row])[0] for row in (rows[0], wrong, rows[1])]
    assert work(bench, take(bench)) == jobs
    assert counted.sizes == [2]
    for job in jobs:
        bench.judge.settle(job)
    assert [bench.job(job).status for job in jobs] == ["succeeded", "failed", "succeeded"]


def test_a_request_that_cannot_be_read_leaves_those_beside_it_alone(bench: Bench) -> None:
    """A service of a later release may have written it."""
    jobs = single(bench, 3)
    bench.store.redis.set(keys.chunk(jobs[1], 0), '[{"unheard of": 1}]')
    assert work(bench, take(bench)) == [jobs[0], jobs[2]]
    assert bench.job(jobs[1]).status is wire.JobStatus.FAILED


def test_a_cancelled_request_is_not_computed_beside_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(bench, monkeypatch)
    jobs = single(bench, 3)
    pieces = take(bench)
    bench.cancel(jobs[1])
    assert work(bench, pieces) == [jobs[0], jobs[2]]
    assert counted.sizes == [2]


def test_what_redis_has_no_room_for_waits_again_and_the_rest_is_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(bench, monkeypatch)
    jobs = single(bench, 3)
    put = bench.store.put_gradients

    def full(job: str, *rest: Any) -> int:
        if job == jobs[1]:
            bench.store.leases.beat(Role.GRADIENTS, "{}")  # which no thread does here, however long a batch takes
            raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'")
        return put(job, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "put_gradients", full)
        with pytest.raises(OutOfMemoryError):
            work(bench, take(bench))
    assert [has_gradients(bench.store, job, 0) for job in jobs] == [True, False, True]
    assert bench.store.redis.hget(keys.job(jobs[1]), "attempts:gradients:0") == b"0", "that was no attempt"
    assert work(bench, take(bench)) == [jobs[1]]
    assert counted.sizes == [3], "its gradients were kept"


def test_a_heartbeat_keeps_everything_that_was_taken_together(bench: Bench) -> None:
    jobs = single(bench, 3)
    bench.processor.begin(take(bench))
    names = [keys.doing(job, keys.gradients_work(0)) for job in jobs]
    bench.store.redis.delete(*names)
    bench.store.leases.beat(Role.GRADIENTS, "{}")
    assert bench.store.redis.exists(*names) == 3
    bench.store.leases.rest((jobs[0], keys.gradients_work(0)))
    assert bench.store.redis.exists(*names) == 2
    bench.store.leases.rest()
    assert bench.store.redis.exists(*names) == 0
