"""Scoring a job again over a real Redis, without Celery: the scores by the book, and what redelivery does."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.tasks.deciding.verdicts import Judge
from support.bench import Bench
from support.pairs import demo_samples, without_prompt
from support.scoring import RULES, explicit_pcgrad
from support.stored import record_of


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(redis_url)
    yield bench
    bench.store.redis.close()


def rescored(bench: Bench, job_id: str, **body: Any) -> wire.FilterResult:
    again = bench.rescore(job_id, **body)
    bench.judge.settle(again)
    return bench.result(again)


def scores(result: wire.FilterResult) -> np.ndarray:
    return np.array([d.conflict_score for d in result.decisions], dtype=float)


def gradients(bench: Bench, job_id: str) -> tuple[np.ndarray, list[str]]:
    """What a job has retained: float64 ``[n, D]``, and the languages."""
    job = record_of(bench.store, job_id)
    assert job is not None
    chunks = [chunk.samples for chunk in bench.store.gradients(job) or []]
    rows = np.concatenate([chunk.gradients(np.arange(len(chunk.norms))) for chunk in chunks])
    return rows, [tag for chunk in chunks for tag in chunk.languages]


def two_passes(jobs: list[tuple[np.ndarray, list[str]]], half_life: float) -> list[np.ndarray]:
    """The method by the book: S of every language as a plain sum of contributions, from scratch; the scores of each
    job's samples against the finished direction, each sample's contribution taken out of S."""
    rows = np.concatenate([job[0] for job in jobs])
    tags = np.array([tag for job in jobs for tag in job[1]])
    number = np.repeat(np.arange(len(jobs)), [len(job[1]) for job in jobs])
    contributions = np.zeros(len(rows))
    names = sorted(set(tags))
    for tag in names:
        for job in range(len(jobs)):
            own = (tags == tag) & (number == job)
            count, since = own.sum(), ((tags == tag) & (number > job)).sum()
            # The integral of 2^(-t/h) over the job's own samples, spread over them; then the decay since.
            amount = count if np.isinf(half_life) else (1 - 2 ** (-count / half_life)) * half_life / np.log(2)
            contributions[own] = amount / max(count, 1) * 2 ** (-since / half_life)
    weights = {tag: contributions[tags == tag].sum() for tag in names}
    means = np.stack([contributions[tags == tag] @ rows[tags == tag] / weights[tag] for tag in names])
    direction, surgery = explicit_pcgrad(means)
    expected = []
    for row, tag, contribution in zip(rows, tags, contributions, strict=True):
        rest = direction - surgery[names.index(tag)] * contribution / weights[tag] * row
        expected.append(-row @ rest / np.linalg.norm(row) / np.linalg.norm(rest))
    return [np.array(expected)[number == job] for job in range(len(jobs))]


@pytest.mark.parametrize("half_life", [float("inf"), 4.0])
def test_two_passes_leave_each_sample_out_of_the_finished_direction(half_life: float, bench: Bench) -> None:
    bench.judge = Judge(bench.store, replace(RULES, half_life=half_life))
    pairs = {tag: demo_samples(tag, each=12) for tag in ("de", "fr", "ja")}
    batches = [
        pairs["de"][:3] + pairs["fr"][:2],
        pairs["fr"][2:7] + pairs["ja"][:2],
        pairs["de"][3:4] + pairs["ja"][2:5],
        pairs["ja"][5:9],
    ]
    jobs = [bench.create(samples=batch, retain=True) for batch in batches]
    first = [bench.run(*job).result for job in jobs]
    expected = two_passes([gradients(bench, job_id) for job_id, _ in jobs], half_life)
    direction = bench.store.redis.hgetall(keys.direction("default"))
    second = [rescored(bench, job_id) for job_id, _ in jobs]
    for result, truth in zip(second, expected, strict=True):
        assert np.allclose(scores(result), truth, atol=1e-6)
    # The last job has seen the finished direction the first time; for the others it makes a difference.
    assert first[-1] is not None
    assert np.allclose(scores(first[-1]), expected[-1], atol=1e-6)
    assert first[0] is not None
    assert not np.allclose(scores(first[0]), expected[0], atol=1e-3)
    assert bench.store.redis.hgetall(keys.direction("default")) == direction
    assert list(bench.store.redis.scan_iter("congrad:job:*:*")) == []


def test_a_job_that_did_not_update_has_no_share(bench: Bench) -> None:
    probe, chunks = bench.create(samples=demo_samples("de", "it", each=3), update=False, retain=True)
    early = bench.run(probe, chunks).result
    assert early is not None
    assert {decision.reason for decision in early.decisions} == {wire.Reason.NO_DIRECTION}
    bench.run(*bench.create())
    now = bench.run(*bench.create(samples=demo_samples("de", "it", each=3), update=False)).result
    assert now is not None
    assert rescored(bench, probe).decisions == now.decisions


def test_a_reset_between_reading_the_job_and_deciding_it_fails_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    again = bench.rescore(job_id)
    read = bench.judge.directions.read

    def reset_and_read(name: str, *_: Any) -> Any:
        monkeypatch.undo()
        bench.reset(name)
        bench.run(*bench.create())
        return read(name)

    monkeypatch.setattr(bench.judge.directions, "read", reset_and_read)
    bench.judge.settle(again)
    error = bench.job(again).error
    assert error is not None
    assert (error.status, error.instance) == (409, f"/jobs/{again}")
    assert f"was reset or replaced since job {job_id} was folded in" in error.detail


def test_a_job_of_which_nothing_was_folded_in_is_scored_whatever_has_become_of_the_direction(bench: Bench) -> None:
    rows = [row | {"rejected": row["chosen"]} for row in demo_samples("de", each=2)]
    bench.run(*bench.create())
    job_id, chunks = bench.create(samples=rows, retain=True)
    bench.run(job_id, chunks)
    bench.reset()
    result = rescored(bench, job_id)
    assert {decision.reason for decision in result.decisions} == {wire.Reason.ZERO_GRADIENT}


def test_samples_without_a_usable_gradient_keep_their_reason(bench: Bench) -> None:
    rows = demo_samples("de", "fr", each=3)
    rows[1] = rows[1] | {"rejected": rows[1]["chosen"]}
    job_id, chunks = bench.create(samples=rows, retain=True)
    first = bench.run(job_id, chunks).result
    assert first is not None
    second = rescored(bench, job_id)
    assert [decision.reason for decision in second.decisions][:3] == [None, wire.Reason.ZERO_GRADIENT, None]
    assert np.allclose(scores(second), scores(first), atol=1e-6, equal_nan=True)


def test_a_redelivered_rescoring_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    again = bench.rescore(job_id)
    read = bench.judge.directions.read
    answers: list[wire.FilterResult] = []

    def read_and_be_overtaken(name: str, *_: Any) -> Any:
        monkeypatch.undo()
        bench.judge.settle(again)  # another delivery, which drops the gradients
        answers.append(bench.result(again))
        bench.run(
            *bench.create(samples=demo_samples("it", each=2))
        )  # a new version, that the slow delivery would answer with
        return read(name)

    monkeypatch.setattr(bench.judge.directions, "read", read_and_be_overtaken)
    bench.judge.settle(again)
    bench.judge.settle(again)
    assert [bench.result(again)] == answers


def test_a_late_duplicate_of_a_gradients_task_neither_drops_nor_revives_what_is_retained(bench: Bench) -> None:
    job_id, chunks = bench.create(retain=True)
    bench.run(job_id, chunks)
    job = record_of(bench.store, job_id)
    assert job is not None
    left = (bench.store.gradients(job) or [])[0]
    # What a worker does that was slow enough for another to have computed the chunk as well.
    bench.store.put_gradients(job_id, 0, left)
    assert rescored(bench, job_id).decisions
    bench.store.put_gradients(job_id, 0, left)
    assert list(bench.store.redis.scan_iter("congrad:job:*:*")) == []


@pytest.mark.parametrize("cancel", [True, False])
def test_a_job_that_does_not_succeed_retains_nothing(cancel: bool, bench: Bench) -> None:
    rows = demo_samples("de", "fr", each=3)
    rows[-1] = without_prompt(rows[-1])
    job_id, chunks = bench.create(samples=rows, retain=True)
    for number in range(chunks):
        bench.processor.process(job_id, number)
    if cancel:
        bench.cancel(job_id)
    bench.judge.settle(job_id)
    assert bench.job(job_id).status is (wire.JobStatus.CANCELLED if cancel else wire.JobStatus.FAILED)
    assert list(bench.store.redis.scan_iter("congrad:job:*:*")) == []
