"""A gradient store beside a whole stack, on a disk and in an object store: two passes, and other questions."""

import json
import math
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import congrad
import numpy as np
import pytest
from congrad import Client, Decision
from congrad.local.stack import Stack
from support.commands import run
from support.object_store import ObjectStore
from support.pairs import demo_samples
from support.scoring import explicit_pcgrad
from support.waiting import until


def labelled(*languages: str, each: int) -> list[dict[str, Any]]:
    """Completions, every third of which is not wanted."""
    return [
        {name: row[name] for name in ("id", "language", "prompt")}
        | {"completion": row["chosen" if number % 3 else "rejected"], "label": number % 3 > 0}
        for number, row in enumerate(demo_samples(*languages, each=each))
    ]


def scores(decisions: Sequence[Decision]) -> np.ndarray:
    return np.array([decision.conflict_score for decision in decisions], dtype=float)


def by_the_book(rows: np.ndarray, tags: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Scores against the consensus of weighted means, each sample's own part taken out, in plain NumPy.

    :param rows: float64 ``[n, D]``.
    :param weights: what each sample counts in its language, float64 ``[n]``.
    """
    names = sorted(set(tags))
    shares = weights.copy()
    for tag in names:
        shares[tags == tag] /= weights[tags == tag].sum()
    direction, surgery = explicit_pcgrad(np.stack([shares[tags == tag] @ rows[tags == tag] for tag in names]))
    rest = direction - np.array([surgery[names.index(tag)] for tag in tags])[:, None] * shares[:, None] * rows
    alignment: np.ndarray = np.einsum("nd,nd->n", rows, rest) / np.linalg.norm(rows, axis=1)
    expected: np.ndarray = -alignment / np.linalg.norm(rest, axis=1)
    return expected


def test_other_questions_are_answered_from_what_is_stored(kto_stack: Stack) -> None:
    """Every answer is that of the book, of the rows that `load_gradients` reads."""
    rows, direction = labelled("de", "fr", "ja", each=6), f"test-{uuid.uuid4().hex}"
    with Client(kto_stack.url, max_retries=0) as client:
        first = client.filter(rows, direction=direction, two_pass=True, retain=True, batch_size=6, concurrency=1)
        assert len(first.retained) == 3
        assert not set(first.retained) & set(first.job_ids)

        store = kto_stack.environment["CONGRAD_GRADIENT_STORE"]
        chunks = list(congrad.load_gradients(first.retained, store))
        assert [name for chunk in chunks for name in chunk.ids] == [row["id"] for row in rows]
        tags = np.array([tag for chunk in chunks for tag in chunk.languages])
        gradients = np.concatenate([chunk.units * chunk.norms[:, None] for chunk in chunks]).astype(np.float64)
        everything = np.ones(len(rows))
        assert np.allclose(scores(first.decisions), by_the_book(gradients, tags, everything), atol=1e-5)

        again = client.rescore(first.retained)
        assert again.decisions == first.decisions
        assert again.retained == first.retained

        fewer = client.rescore(
            first.retained, languages=["de", "ja"], selection={"kind": "threshold", "max_conflict": 1}
        )
        heard = tags != "fr"
        assert all(fewer.keep)
        expected = by_the_book(gradients[heard], tags[heard], everything[heard])
        assert np.allclose(scores(fewer.decisions)[heard], expected, atol=1e-5)
        assert all("fr" not in decision.conflicts_with for decision in fewer.decisions)

        mean = client.rescore(first.retained, aggregator="mean")
        anew = client.filter(rows, direction=direction, update=False, aggregator="mean")
        assert np.allclose(scores(mean.decisions), scores(anew.decisions), atol=1e-4)

        known = {one.name for one in client.directions.list()}
        shorter = client.rescore(first.retained, half_life=4.0)
        amounts = _amounts(tags, [len(rows) // 3] * 3, 4.0)
        assert np.allclose(scores(shorter.decisions), by_the_book(gradients, tags, amounts), atol=1e-5)
        assert {one.name for one in client.directions.list()} == known, "the one that was made for it is gone"
        assert not any(decision.repeated for decision in shorter.decisions)

        named = client.rescore(first.retained, half_life=math.inf, direction=f"{direction}-again")
        assert np.allclose(scores(named.decisions), scores(first.decisions), atol=1e-6)
        other = client.rescore(first.retained, direction=f"{direction}-again", retain=False)
        assert np.allclose(scores(other.decisions), scores(first.decisions), atol=1e-6)
        with pytest.raises(congrad.ConflictError, match="are no longer kept"):
            client.rescore(first.retained)


def _amounts(tags: np.ndarray, jobs: list[int], half_life: float) -> np.ndarray:
    """What each sample counts in its language, when jobs of these sizes were folded in one after the other."""
    number = np.repeat(np.arange(len(jobs)), jobs)
    amounts = np.zeros(len(tags))
    for tag in set(tags):
        for job in range(len(jobs)):
            own = (tags == tag) & (number == job)
            count, since = own.sum(), ((tags == tag) & (number > job)).sum()
            amounts[own] = (1 - 2 ** (-count / half_life)) / max(count, 1) * 2 ** (-since / half_life)
    return amounts


def test_the_command_asks_again_by_the_names_of_the_rows(kto_stack: Stack, tmp_path: Path) -> None:
    source, jobs, kept, first, again = (
        str(tmp_path / f"{name}.jsonl") for name in ("rows", "jobs", "kept", "first", "again")
    )
    Path(source).write_text("".join(json.dumps(row) + "\n" for row in labelled("de", "fr", each=4)), encoding="utf-8")
    url = ["--url", kto_stack.url]
    about = ["--direction", f"test-{uuid.uuid4().hex}", "--batch-size", "3", *url]
    filtered = run("filter", source, "-o", kept, "--scores", first, "--retain", jobs, *about)
    assert filtered.returncode == 0, filtered.stderr
    same = run("rescore", jobs, "-o", again, *url)
    assert same.returncode == 0, same.stderr
    assert Path(first).read_text() == Path(again).read_text()
    assert "scored against version" in same.stderr
    nowhere = run("rescore", jobs, "-o", again, "--direction", "defualt", *url)
    assert (nowhere.returncode, "there is no direction 'defualt' to score against" in nowhere.stderr) == (2, True)
    none = run("rescore", jobs, "-o", again, "--keep", "0", "--half-life", "inf", "--free", "--json", *url)
    assert none.returncode == 0, none.stderr
    assert json.loads(none.stdout)["kept"] == 0
    gone = run("rescore", jobs, "-o", again, *url)
    assert gone.returncode == 1
    assert "are no longer kept" in gone.stderr


def test_an_object_store_has_what_jobs_retain_until_they_are_deleted(
    sft_stack: Stack, stored_at: Callable[[], list[str]]
) -> None:
    rows = [
        {name: row[name] for name in ("id", "language", "prompt")} | {"completion": row["chosen"]}
        for row in demo_samples("de", "fr", "ja", each=4)
    ]
    direction = f"test-{uuid.uuid4().hex}"
    with Client(sft_stack.url, max_retries=0) as client:
        first = client.filter(rows, direction=direction, two_pass=True, retain=True, batch_size=6)
        anew = client.filter(rows, direction=direction, update=False)
        assert np.allclose(scores(first.decisions), scores(anew.decisions), atol=1e-5)
        assert {name.rpartition("/")[0].rpartition("/")[2] for name in stored_at()} == set(first.retained)
        chunks = congrad.load_gradients(first.retained, sft_stack.environment["CONGRAD_GRADIENT_STORE"])
        assert [name for chunk in chunks for name in chunk.ids] == [row["id"] for row in rows]
        for job_id in first.retained:
            client.jobs.cancel(job_id)
        until(lambda: stored_at() == [], seconds=60)


@pytest.fixture
def stored_at(sft_stack: Stack, object_store: ObjectStore) -> Callable[[], list[str]]:
    """The files that are in the gradient store of the stack."""
    s3fs = pytest.importorskip("s3fs")
    folder = sft_stack.environment["CONGRAD_GRADIENT_STORE"]

    def found() -> list[str]:
        system = s3fs.S3FileSystem(endpoint_url=object_store.url, use_listings_cache=False, skip_instance_cache=True)
        return list(system.find(folder))

    return found
