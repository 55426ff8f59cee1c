"""The whole way: HTTP, Celery, a worker with a checkpoint, Redis, and back."""

import uuid
from pathlib import Path
from typing import Any

import congrad
import httpx
import numpy as np
import pytest
from congrad import Client
from congrad_worker.gradients.verification import verified_engine
from support.models import DEMO_CHECKPOINT, checkpoint, settings
from support.pairs import demo_samples, encoded, without_prompt
from support.scoring import conflict_scores, default_rules


@pytest.fixture
def direction() -> str:
    """A direction that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


def scores(result: congrad.Filtered) -> np.ndarray:
    return np.array([d.conflict_score for d in result.decisions], dtype=float)


def test_a_multilingual_batch_is_decided(client: Client, direction: str) -> None:
    rows = demo_samples(each=4)
    (result,) = client.filter_batches(rows, direction=direction)
    assert [d.id for d in result.decisions] == [row["id"] for row in rows]
    assert [d.language for d in result.decisions] == [row["language"] for row in rows]
    assert result.direction.version == 1
    assert result.direction.languages == {row["language"]: 4 for row in rows}
    assert all(d.keep == (d.conflict_score <= 0) for d in result.decisions if d.conflict_score is not None)
    assert result.summary.kept == sum(d.keep for d in result.decisions)
    assert 0 < result.timing.gradients_s <= result.timing.total_s
    # The same numbers as the functions give when they are called without service, queue and Redis.
    engine = verified_engine(checkpoint(DEMO_CHECKPOINT), settings(DEMO_CHECKPOINT, unit_gradients=True))
    expected = conflict_scores(engine, encoded(rows), [row["language"] for row in rows], default_rules())
    found = [d.conflict_score for d in result.decisions]
    assert np.allclose(np.array(found, dtype=float), expected, atol=1e-5)


def test_the_direction_tells_what_is_in_it(client: Client, direction: str) -> None:
    client.filter(demo_samples("de", "fr", "ja"), direction=direction)
    described = client.directions.get(direction)
    assert list(described.languages) == ["de", "fr", "ja"]
    assert all(language.samples == 12 and language.norm > 0 for language in described.languages.values())
    assert np.allclose(np.diagonal(described.cosines_before), 1)
    assert np.array(described.cosines_after).shape == (3, 3)
    assert direction in [row.name for row in client.directions.list()]
    (served,) = client.checkpoints()
    assert described.fingerprint == served.fingerprint
    client.directions.reset(direction)
    with pytest.raises(congrad.NotFoundError):
        client.directions.get(direction)


def test_without_update_nothing_changes(client: Client, direction: str) -> None:
    client.filter(demo_samples("de", "fr", each=6), direction=direction)
    before = client.directions.get(direction)
    first = client.filter(demo_samples("de", "sw", each=3), direction=direction, update=False)
    second = client.filter(demo_samples("de", "sw", each=3), direction=direction, update=False)
    assert client.directions.get(direction) == before
    assert np.array_equal(scores(first), scores(second))
    nowhere = client.filter(demo_samples("de", each=2), direction=direction + "-new", update=False)
    assert {d.reason for d in nowhere.decisions} == {congrad.Reason.NO_DIRECTION}
    assert nowhere.summary.kept == 2
    with pytest.raises(congrad.NotFoundError):
        client.directions.get(direction + "-new")


def test_two_halves_make_the_direction_of_the_whole(client: Client, direction: str) -> None:
    rows = demo_samples("de", "en", "zh")
    client.filter(rows, direction=direction)
    client.filter(rows[:17], direction=direction + "-split")
    client.filter(rows[17:], direction=direction + "-split")
    probe = demo_samples("it", "tr", each=4)
    whole = client.filter(probe, direction=direction, update=False)
    split = client.filter(probe, direction=direction + "-split", update=False)
    assert np.allclose(scores(whole), scores(split), atol=1e-6)
    assert client.directions.get(direction + "-split").version == 2


def test_an_idempotency_key_folds_in_once(client: Client, direction: str) -> None:
    rows = demo_samples("de", "fr", each=3)
    first = client.filter(rows, direction=direction, idempotency_key=direction)
    second = client.filter(rows, direction=direction, idempotency_key=direction)
    assert first == second
    assert client.directions.get(direction).languages["de"].samples == 3
    assert client.directions.get(direction).version == 1


def test_samples_that_cannot_be_encoded_are_named_and_nothing_is_folded_in(client: Client, direction: str) -> None:
    rows = demo_samples("en", each=12)
    for number in (3, 11):
        rows[number] = without_prompt(rows[number])
    with pytest.raises(congrad.JobFailedError) as caught:
        client.filter(rows, direction=direction)
    assert (caught.value.status, caught.value.samples) == (422, [3, 11])
    assert caught.value.job.status is congrad.JobStatus.FAILED
    errors = {error.pointer: error.detail for error in caught.value.problem.errors}
    assert set(errors) == {"/samples/3", "/samples/11"}
    assert errors["/samples/3"].startswith("sample 3 (id 'en-04'): chosen and rejected begin with different messages")
    with pytest.raises(congrad.NotFoundError):
        client.directions.get(direction)


def _messages(row: dict[str, Any]) -> dict[str, Any]:
    return {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}


def test_ties_and_long_pairs_are_decided_and_marked(client: Client, direction: str) -> None:
    rows = demo_samples("en", "de", each=4)
    rows[1] = rows[1] | {"rejected": rows[1]["chosen"]}
    rows[2] = rows[2] | {"chosen": rows[2]["chosen"] * 200}
    result = client.filter(rows, direction=direction)
    assert result.decisions[1].reason is congrad.Reason.ZERO_GRADIENT
    assert not result.decisions[1].keep
    assert [d.truncated for d in result.decisions] == [False, False, True] + [False] * 5
    assert result.decisions[2].conflict_score is not None
    assert client.directions.get(direction).languages["en"].samples == 3


def test_conversations_and_implicit_prompts_are_scored_alike(client: Client, direction: str) -> None:
    client.filter(demo_samples(each=4), direction=direction)
    row = demo_samples("fr", each=1)[0]
    turn = {"role": "user", "content": row["prompt"]}
    explicit = row | {"prompt": [turn], **_messages(row)}
    joined = {side: [turn, *explicit[side]] for side in ("chosen", "rejected")}
    implicit = {"id": "implicit", "language": "fr", **joined}
    result = client.filter([explicit, implicit], direction=direction, update=False)
    first, second = scores(result)
    assert first == pytest.approx(second, abs=1e-6)


def test_a_fraction_is_taken_among_pairs_of_like_length(client: Client, direction: str) -> None:
    """The 24 pairs of each language are two strata, cut here by the lengths of the texts that were sent."""
    rows = [row | {"id": f"{number}-{row['id']}", "prompt": f"{number} {row['prompt']}"}
            for number in range(2) for row in demo_samples("de", "ja", each=12)]  # fmt: skip
    selection = {"kind": "fraction", "keep": 0.5, "within": "language-length"}
    body = {"samples": rows, "direction": direction, "selection": selection}
    answer = httpx.post(f"{client.base_url}/filter", json=body, timeout=60).raise_for_status().json()
    ratios = np.array([len(row["chosen"]) / len(row["rejected"]) for row in rows])
    assert [one["length_ratio"] for one in answer["decisions"]] == pytest.approx(ratios)
    conflict = np.array([one["conflict_score"] for one in answer["decisions"]])
    expected = np.zeros(len(rows), dtype=bool)
    for tag in ("de", "ja"):
        own = np.flatnonzero([row["language"] == tag for row in rows])
        for stratum in own[np.argsort(ratios[own], kind="stable")].reshape(2, 12):
            expected[stratum[np.argsort(conflict[stratum])[:6]]] = True
    assert [one["keep"] for one in answer["decisions"]] == expected.tolist()
    again = client.filter(rows, direction=direction, selection=selection, update=False, batch_size=7)
    assert again.keep == expected.tolist()  # of the whole call, however it is cut
    job = client.jobs.get(answer["job_id"]).result
    assert job is not None
    assert [one.length_ratio for one in job.decisions] == pytest.approx(ratios)


def test_of_an_implicit_prompt_and_of_turns_only_the_answers_own_characters_count(
    client: Client, direction: str
) -> None:
    turn = {"role": "user", "content": "Wie spät ist es?"}
    implicit = {"chosen": [turn, {"role": "assistant", "content": "Halb vier."}],
                "rejected": [turn, {"role": "assistant", "content": [{"type": "text", "text": "Spät"}]}]}  # fmt: skip
    text = {"chosen": "Frage: ja oder nein? Nein.", "rejected": "Frage: ja oder nein? Vielleicht."}
    empty = {"prompt": "a", "chosen": "", "rejected": "b"}
    rows = [row | {"language": "de"} for row in (implicit, text, empty)]
    (result,) = client.filter_batches(rows, direction=direction)
    # TRL leaves the space before the answers to them.
    assert [one.length_ratio for one in result.decisions] == [10 / 4, 6 / 12, None]


def test_a_job_can_be_looked_up(client: Client, direction: str) -> None:
    (result,) = client.filter_batches(demo_samples("de", each=2), direction=direction)
    job = client.jobs.get(result.job_id)
    assert job.status is congrad.JobStatus.SUCCEEDED
    assert job.progress.done == job.progress.total
    assert job.result == result


def test_no_texts_reach_the_log(client: Client, stack_log: Path, direction: str) -> None:
    rows = [row | {"prompt": row["prompt"] + " Quaxolotl"} for row in demo_samples("de", each=2)]
    client.filter(rows, direction=direction)
    log = stack_log.read_text(encoding="utf-8")
    assert "congrad.gradients" in log
    assert "Quaxolotl" not in log
