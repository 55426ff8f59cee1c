"""A gradient store beside a whole stack: two passes through it, other questions, and the death of workers meanwhile."""

import json
import math
import random
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import congrad
import httpx
import numpy as np
import pytest
from chaos.parts import Role
from chaos.stack import supervised_stack
from congrad import Client, Decision
from congrad.local.stack import Stack
from support.commands import run
from support.jobs import ended
from support.object_store import ObjectStore
from support.pairs import demo_samples
from support.scoring import explicit_pcgrad


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
    expected: np.ndarray = -np.einsum("nd,nd->n", rows, rest)
    return expected / np.linalg.norm(rows, axis=1) / np.linalg.norm(rest, axis=1)


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
    none = run("rescore", jobs, "-o", again, "--keep", "0", "--half-life", "inf", "--free", "--json", *url)
    assert none.returncode == 0, none.stderr
    assert json.loads(none.stdout)["kept"] == 0
    gone = run("rescore", jobs, "-o", again, *url)
    assert gone.returncode == 1
    assert "are no longer kept" in gone.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="finds and ends processes as Linux has them")
def test_workers_that_are_killed_on_the_way_lose_nothing_in_an_object_store(
    object_server: ObjectStore, tmp_path: Path
) -> None:
    rows = demo_samples("de", "fr", "ja", each=8)
    parts = [rows[number::6] for number in range(6)]
    settings = {
        **object_server.environment,
        "CONGRAD_GRADIENT_STORE": object_server.new_bucket(),
        "CONGRAD_HALF_LIFE": "inf",
    }
    with (
        supervised_stack(tmp_path, random.Random(0), settings, gradients_workers=1) as stack,  # noqa: S311 # no secret
        httpx.Client(base_url=stack.url, timeout=120) as http,
    ):
        ids = []
        for part in parts:
            body = {"samples": part, "direction": "killed", "retain": True}
            accepted = http.post("/filter", json=body, headers={"Prefer": "respond-async"})
            assert accepted.status_code == 202, accepted.text
            ids.append(accepted.json()["id"])
        for role in (Role.GRADIENTS, Role.DECIDE):
            (part,) = stack.of(role)
            stack.wait_until(part.child)
            part.kill()
        first = [ended(http, stack, job_id) for job_id in ids]
        assert [job["status"] for job in first] == ["succeeded"] * 6
        again = []
        for number, job_id in enumerate(ids):
            headers = {"Prefer": "respond-async"}
            asked = http.post(f"/jobs/{job_id}/rescore", json={"retain": True}, headers=headers)
            assert asked.status_code in (200, 202), asked.text
            again.append(asked.json().get("id") or asked.json()["job_id"])
            if number == 2:
                stack.of(Role.DECIDE)[0].kill_child()
        second = [ended(http, stack, job_id)["result"]["decisions"] for job_id in again]
        whole = http.post("/filter", json={"samples": [row for part in parts for row in part], "direction": "whole"})
        truth = [one["conflict_score"] for one in whole.raise_for_status().json()["decisions"]]
        found = [one["conflict_score"] for decisions in second for one in decisions]
        assert np.allclose(np.array(found, float), np.array(truth, float), atol=1e-5)
