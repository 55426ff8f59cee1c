"""Completions with labels, filtered by workers with the loss of KTO: HTTP, files, datasets."""

import uuid
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
from support.scoring import conflict_scores


def labelled(*languages: str, each: int) -> list[dict[str, Any]]:
    """Rows of which every third is a completion that is not wanted."""
    return [
        {name: row[name] for name in ("id", "language", "prompt")}
        | {"completion": row["chosen" if number % 3 else "rejected"], "label": number % 3 > 0}
        for number, row in enumerate(demo_samples(*languages, each=each))
    ]


def scores(decisions: Any) -> np.ndarray:
    return np.array([decision.conflict_score for decision in decisions], dtype=float)


def test_labelled_completions_are_scored_alike_from_every_side(kto_stack: Stack, tmp_path: Path) -> None:
    rows, direction = labelled("de", "ja", each=4), f"test-{uuid.uuid4().hex}"
    with Client(kto_stack.url, max_retries=0) as client:
        result = client.filter(rows, direction=direction)
        dataset = filter_dataset(Dataset.from_list(rows), client, direction=f"{direction}-dataset")
    engine = verified_engine(checkpoint(DEMO_CHECKPOINT), settings(DEMO_CHECKPOINT, loss="kto", unit_gradients=True))
    encoder = Encoder(engine.checkpoint.tokenizer, engine.checkpoint.max_length)
    pairs = [encoder.encode(congrad.PromptCompletion.model_validate(row)) for row in rows]
    expected = conflict_scores(engine, pairs, [row["language"] for row in rows])
    np.testing.assert_allclose(scores(result.decisions), expected, atol=1e-5)
    np.testing.assert_allclose(dataset["conflict_score"][:], expected, atol=1e-5)
    source, kept = tmp_path / "in.csv", tmp_path / "kept.csv"
    Dataset.from_list(rows).to_csv(source)
    asked = ["--url", kto_stack.url, "--direction", f"{direction}-file", "--one-pass"]
    done = run("filter", str(source), "-o", str(kept), *asked)
    assert done.returncode == 0, done.stderr
    of_file = Dataset.from_csv(str(kept), cache_dir=str(tmp_path / "cache"))
    assert of_file["label"][:] == [row["label"] for row, keep in zip(rows, result.keep, strict=True) if keep]


def test_completions_without_a_label_are_refused(kto_stack: Stack) -> None:
    row = labelled("de", each=1)[0]
    with (
        Client(kto_stack.url, max_retries=0) as client,
        pytest.raises(congrad.UnprocessableError, match="loss is kto, which needs one: true where the completion"),
    ):
        client.filter([{name: value for name, value in row.items() if name != "label"}])
