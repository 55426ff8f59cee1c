"""Pairs that come again, over a real Redis and step by step: in one job after another, in jobs that race, and under
other terms than a direction began with."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_worker.tasks.deciding.verdicts import Judge
from congrad_worker.tasks.records import ChunkResult
from support.bench import Bench
from support.pairs import demo_samples
from support.scoring import RULES


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    bench = Bench(redis_url)
    yield bench
    bench.store.redis.close()


def posted(bench: Bench, **body: Any) -> wire.FilterResult:
    """The answer to a request."""
    job_id, chunks = bench.create(**body)
    job = bench.run(job_id, chunks)
    assert job.result is not None, job.error
    return job.result


def failed(bench: Bench, **body: Any) -> wire.Problem:
    job = bench.run(*bench.create(**body))
    assert job.error is not None
    return job.error


def scores(result: wire.FilterResult) -> np.ndarray:
    return np.array([d.conflict_score for d in result.decisions], dtype=float)


def repeated(result: wire.FilterResult) -> list[bool]:
    return [decision.repeated for decision in result.decisions]


def stored(bench: Bench) -> tuple[dict[bytes, bytes], dict[bytes, bytes], list[bytes]]:
    """All of the direction."""
    redis: Any = bench.store.redis
    return (
        redis.hgetall(keys.direction("default")),
        redis.hgetall(keys.pairs("default")),
        redis.lrange(keys.history("default"), 0, -1),
    )


def test_a_second_epoch_leaves_the_direction_as_it_is_and_gives_the_same_decisions(bench: Bench) -> None:
    first = posted(bench)
    before = stored(bench)
    bench.judge = Judge(bench.store, RULES)  # another process, which has to read what the first one remembered
    second = posted(bench)
    assert stored(bench) == before
    assert (repeated(first), repeated(second)) == ([False] * 6, [True] * 6)
    assert (first.summary.repeated, second.summary.repeated) == (0, 6)
    assert second.direction == first.direction
    assert [d.keep for d in second.decisions] == [d.keep for d in first.decisions]
    assert np.allclose(scores(second), scores(first), atol=2e-3)


def test_two_jobs_in_flight_with_the_same_pairs_count_them_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = bench.create(), bench.create(samples=demo_samples("de", "fr", each=4))
    for job_id, chunks in (early, late):
        for number in range(chunks):
            bench.processor.process(job_id, number)
    read = bench.judge.directions.read

    def read_and_be_overtaken(name: str, *_: Any) -> Any:
        record = read(name)
        monkeypatch.undo()
        bench.judge.settle(late[0])  # commits between our reading and our commit
        return record

    monkeypatch.setattr(bench.judge.directions, "read", read_and_be_overtaken)
    bench.judge.settle(early[0])
    assert repeated(bench.result(early[0])) == [True] * 6
    assert bench.result(early[0]).direction.languages == {"de": 4, "fr": 4}


def test_what_is_remembered_is_never_of_another_version_than_the_direction(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that changes nothing has no commit that could be lost."""
    posted(bench)
    job_id, chunks = bench.create(update=False)
    for number in range(chunks):
        bench.processor.process(job_id, number)
    read = bench.judge.directions.read

    def read_and_be_overtaken(name: str, *_: Any) -> Any:
        record = read(name)
        monkeypatch.undo()
        posted(bench, repeats="count")
        return record

    monkeypatch.setattr(bench.judge.directions, "read", read_and_be_overtaken)
    bench.judge.settle(job_id)
    assert bench.result(job_id).direction.version == 2
    assert np.allclose(scores(bench.result(job_id)), scores(posted(bench)), atol=1e-6)


def test_repeats_can_be_counted(bench: Bench) -> None:
    posted(bench)
    again = posted(bench, repeats="count")
    assert repeated(again) == [False] * 6
    assert again.direction.languages == {"de": 6, "fr": 6}
    assert repeated(posted(bench)) == [True] * 6


def test_a_whole_file_and_one_that_is_sent_in_halves_and_resumed_are_scored_alike(bench: Bench) -> None:
    rows = demo_samples("de", "fr", each=6)
    posted(bench, samples=rows[:7])
    posted(bench, samples=[*rows[:2], rows[3], *rows[7:]])  # resumed, with a row taken out
    looked = posted(bench, samples=rows, update=False)
    whole = posted(bench, samples=rows, direction="whole")
    assert looked.direction.languages == whole.direction.languages
    assert np.allclose(scores(looked), scores(whole), atol=2e-3)


def test_other_reference_log_probabilities_make_another_pair(bench: Bench) -> None:
    rows = [row | {"ref_chosen_logps": -3.0, "ref_rejected_logps": -4.0} for row in demo_samples("de", "fr", each=3)]
    posted(bench)
    assert repeated(posted(bench, samples=rows)) == [False] * 6
    rows[0]["ref_chosen_logps"] = -5.0
    assert repeated(posted(bench, samples=rows)) == [False] + [True] * 5


def test_a_reset_forgets(bench: Bench) -> None:
    first = posted(bench)
    bench.reset()
    assert list(bench.store.redis.scan_iter("congrad:pairs:*")) == []
    assert scores(posted(bench)).tolist() == scores(first).tolist()


def test_what_is_remembered_is_exported_and_imported_with_the_direction(bench: Bench) -> None:
    first = posted(bench)
    bench.replace("copy", bench.export())
    again = posted(bench, direction="copy")
    assert repeated(again) == [True] * 6
    assert again.direction.languages == first.direction.languages
    assert np.allclose(scores(again), scores(first), atol=1e-6)


def test_an_answer_says_how_many_pairs_were_given_up(bench: Bench) -> None:
    bench.judge = Judge(bench.store, replace(RULES, max_pairs=4))
    assert posted(bench).direction.forgotten == 2
    again = posted(bench)
    assert repeated(again).count(False) == 2
    assert again.direction.forgotten == 4


def test_gradients_that_an_earlier_release_left_are_all_new(bench: Bench) -> None:
    posted(bench)
    job_id, chunks = bench.create()
    for number in range(chunks):
        bench.processor.process(job_id, number)
        key = keys.gradients(job_id, number)
        left: Any = bench.store.redis.get(key)
        bench.store.redis.set(key, replace(ChunkResult.parse(left), pairs=None).dump())
    bench.judge.settle(job_id)
    assert bench.result(job_id).direction.languages == {"de": 6, "fr": 6}
    assert repeated(posted(bench)) == [True] * 6


def test_what_is_scored_again_says_what_it_said_first(bench: Bench) -> None:
    posted(bench)
    job_id, chunks = bench.create(samples=demo_samples("de", "fr", each=5), retain=True)
    first = bench.run(job_id, chunks).result
    again = bench.rescore(job_id)
    bench.judge.settle(again)
    assert first is not None
    assert repeated(bench.result(again)) == repeated(first) == ([True] * 3 + [False] * 2) * 2
    assert np.allclose(scores(bench.result(again)), scores(first), atol=1e-6)


# What a direction begins with


def shown(bench: Bench, name: str = "default") -> dict[str, Any]:
    raw: Any = bench.store.redis.hget(keys.direction(name), "geometry")
    geometry: dict[str, Any] = json.loads(raw)
    return geometry


def test_a_direction_keeps_the_half_life_that_it_began_with(bench: Bench) -> None:
    posted(bench, half_life=2)
    bench.judge = Judge(bench.store, replace(RULES, half_life=100.0))
    posted(bench, samples=demo_samples("it", each=4))
    assert shown(bench)["half_life"] == 2
    assert posted(bench, samples=demo_samples("ja", each=2), half_life=2.0).direction.version == 3
    error = failed(bench, samples=demo_samples("zh", each=2), half_life="inf")
    assert error.status == 409
    assert "began with a half-life of 2, not inf" in error.detail
    posted(bench, direction="other")
    assert shown(bench, "other")["half_life"] == 100
    posted(bench, direction="file", half_life="inf")
    assert shown(bench, "file")["half_life"] is None


def test_a_half_life_is_that_of_the_workers_setting(bench: Bench) -> None:
    batches = [demo_samples("de", "fr", each=4), demo_samples("de", "ja", each=6)]
    asked = [posted(bench, samples=batch, half_life=3) for batch in batches]
    bench.judge = Judge(bench.store, replace(RULES, half_life=3.0))
    set_ = [posted(bench, samples=batch, direction="set") for batch in batches]
    assert [scores(one).tolist() for one in asked] == [scores(one).tolist() for one in set_]


def test_a_direction_keeps_the_aggregator_that_it_began_with(bench: Bench) -> None:
    posted(bench, aggregator="mean")
    assert shown(bench)["aggregator"]["name"] == "mean"
    posted(bench, samples=demo_samples("it", each=2))
    assert shown(bench)["aggregator"]["name"] == "mean"
    error = failed(bench, samples=demo_samples("ja", each=2), aggregator="pcgrad")
    assert error.status == 409
    assert "began with the aggregator mean, not pcgrad" in error.detail


def test_what_changes_nothing_is_scored_under_any_aggregator_from_the_same_gradients(bench: Bench) -> None:
    rows = demo_samples("de", "fr", "ja", each=4)
    job_id, chunks = bench.create(samples=rows, retain=True)
    bench.run(job_id, chunks)
    before = stored(bench)
    looked = posted(bench, samples=rows, update=False, aggregator="mean")
    again = bench.rescore(job_id, aggregator="mean")
    bench.judge.settle(again)
    assert stored(bench) == before
    mean = posted(bench, samples=rows, direction="mean", aggregator="mean")
    assert np.allclose(scores(looked), scores(mean), atol=1e-6)
    assert np.allclose(scores(bench.result(again)), scores(mean), atol=1e-6)
    own = posted(bench, samples=rows, update=False)
    assert np.allclose(scores(own), scores(posted(bench, samples=rows, direction="own")), atol=1e-6)


def test_an_aggregator_that_a_direction_brings_from_elsewhere_and_nobody_knows_is_named(bench: Bench) -> None:
    posted(bench)
    redis, key = bench.store.redis, keys.direction("default")
    text: Any = redis.hget(key, "geometry")
    redis.hset(key, "geometry", json.dumps(json.loads(text) | {"aggregator": {"name": "median", "seed": 0}}))
    bench.judge = Judge(bench.store, RULES)
    error = failed(bench, samples=demo_samples("ja", each=2))
    assert error.status == 422
    assert error.detail.startswith("aggregator 'median' is unknown; known are pcgrad, agreement, mean")
