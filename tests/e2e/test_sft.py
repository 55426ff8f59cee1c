"""Completions to imitate, filtered by workers with the loss of supervised fine-tuning: HTTP, files, datasets."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import congrad
import numpy as np
import pytest
from congrad import Client
from congrad.integrations.trl import filter_dataset
from congrad.local.stack import Stack
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.gradients.verification import verified_engine
from datasets import Dataset
from support.commands import run
from support.models import DEMO_CHECKPOINT, checkpoint, settings
from support.pairs import demo_samples
from support.scoring import conflict_scores, default_rules


@pytest.fixture
def sft_client(sft_stack: Stack) -> Iterator[Client]:
    """A client of the stack."""
    with Client(sft_stack.url, max_retries=0) as connected:
        yield connected


@pytest.fixture
def direction() -> str:
    """A direction that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


def completions(*languages: str, each: int) -> list[dict[str, Any]]:
    """Rows without a rejected answer."""
    return [
        {name: row[name] for name in ("id", "language", "prompt")} | {"completion": row["chosen"]}
        for row in demo_samples(*languages, each=each)
    ]


def turns(row: dict[str, Any]) -> dict[str, Any]:
    prompt, completion = ({"role": role, "content": row[name]} for role, name in
                          (("user", "prompt"), ("assistant", "completion")))  # fmt: skip
    return row | {"prompt": [prompt], "completion": [completion]}


def scores(decisions: Any) -> np.ndarray:
    return np.array([decision.conflict_score for decision in decisions], dtype=float)


@pytest.mark.parametrize("form", [dict, turns])
def test_completions_are_scored_as_the_functions_do_without_service_and_queue(
    form: Any, sft_client: Client, direction: str
) -> None:
    rows = [form(row) for row in completions("de", "en", "ja", each=4)]
    result = sft_client.filter(rows, direction=direction)
    assert sft_client.directions.get(direction).languages["ja"].samples == 4
    engine = verified_engine(checkpoint(DEMO_CHECKPOINT), settings(DEMO_CHECKPOINT, loss="sft", unit_gradients=True))
    encoder = Encoder(engine.checkpoint.tokenizer, engine.checkpoint.max_length)
    pairs = [encoder.encode(congrad.PromptCompletion.model_validate(row)) for row in rows]
    expected = conflict_scores(engine, pairs, [row["language"] for row in rows], default_rules())
    np.testing.assert_allclose(scores(result.decisions), expected, atol=1e-5)
    assert result.keep == [score <= 0 for score in scores(result.decisions)]


def test_a_pair_counts_as_its_chosen_answer_beside_completions(sft_client: Client, direction: str) -> None:
    rows = completions("de", "fr", each=4)
    first = sft_client.filter(rows, direction=direction)
    mixed = [
        pair if i % 2 else row for i, (pair, row) in enumerate(zip(demo_samples("de", "fr", each=4), rows, strict=True))
    ]
    second = sft_client.filter(mixed, direction=f"{direction}-mixed")
    np.testing.assert_allclose(scores(second.decisions), scores(first.decisions), atol=1e-5)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_file_of_completions_is_filtered(suffix: str, sft_stack: Stack, direction: str, tmp_path: Path) -> None:
    rows = Dataset.from_list([row | {"mine": i} for i, row in enumerate(completions("de", "ja", each=4))])
    rows = rows.rename_columns({"language": "lang", "completion": "answer"})
    source, kept, dropped = (tmp_path / f"{name}.{suffix}" for name in ("in", "kept", "dropped"))
    {"jsonl": rows.to_json, "parquet": rows.to_parquet}[suffix](source)
    columns = ["--language-field", "lang", "--field", "completion=answer"]
    asked = ["--url", sft_stack.url, "--direction", direction, "--keep", "0.5", "--within", "request"]
    done = run("filter", str(source), "-o", str(kept), "--dropped", str(dropped), *columns, *asked)
    assert done.returncode == 0, done.stderr
    read = {"jsonl": Dataset.from_json, "parquet": Dataset.from_parquet}[suffix]
    parts = [read(str(path), cache_dir=str(tmp_path / "cache")) for path in (kept, dropped)]
    assert [len(part) for part in parts] == [4, 4]
    assert sorted(row["mine"] for part in parts for row in part) == list(range(8))
    with Client(sft_stack.url) as client:
        languages = client.directions.get(direction).languages
    assert {tag: language.samples for tag, language in languages.items()} == {"de": 4, "ja": 4}


def test_a_dataset_of_completions_is_filtered(sft_client: Client, direction: str) -> None:
    rows = completions("de", "ja", each=4)
    scored = filter_dataset(Dataset.from_list(rows), sft_client, direction=direction)
    expected = sft_client.filter(rows, direction=f"{direction}-plain")
    np.testing.assert_allclose(scored["conflict_score"][:], scores(expected.decisions), atol=1e-5)


def test_conversations_that_are_not_split_are_told_how(sft_client: Client) -> None:
    rows = Dataset.from_list([{"language": row["language"], "messages": turns(row)["prompt"] + turns(row)["completion"]}
                              for row in completions("de", each=2)])  # fmt: skip
    for call in (filter_dataset, lambda rows, client: client.filter(rows)):
        with pytest.raises(
            (congrad.UnprocessableError, ValueError), match="its last turn should be the completion, all turns before"
        ):
            call(rows, sft_client)


def test_completions_are_refused_where_the_loss_compares(client: Client) -> None:
    rows = [demo_samples("de", each=1)[0], *completions("ja", each=1)]
    with pytest.raises(congrad.UnprocessableError, match="serve the checkpoint with CONGRAD_LOSS=sft") as caught:
        client.filter(rows)
    assert caught.value.samples == [1]
