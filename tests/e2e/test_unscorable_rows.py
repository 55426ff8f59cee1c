"""A row that has no gradient on this checkpoint stops nothing: it is dropped, with the reason, however it was sent."""

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from congrad import Client, Reason
from congrad.integrations.trl import filter_dataset
from congrad.local.stack import Stack
from datasets import Dataset
from support.commands import run
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

MAX_LENGTH = 1024
"""Of the stack's worker."""


@pytest.fixture
def direction() -> str:
    """A direction that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


def rows_with_long_prompts() -> list[dict[str, Any]]:
    """Sixteen rows. The prompts of two are longer than the worker reads, and one is nearly as long."""
    rows = demo_samples("de", "fr", "ja", "zh", each=4)
    for number, repeats in ((5, 90), (6, 200), (12, 1500)):
        rows[number] = rows[number] | {"prompt": f"{rows[number]['prompt']} Hm?" + " word" * repeats}
    return rows


def kept_by_trl(rows: list[dict[str, Any]]) -> list[str]:
    """The ids of the rows that TRL trains on."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": [], "gradient_checkpointing": None}
    config = DPOConfig(max_length=MAX_LENGTH, **options)
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer)
    prepared = DPOTrainer._prepare_dataset(trainer, Dataset.from_list(rows), tokenizer, config, "train")
    return list(prepared["id"])


def refused(row: dict[str, Any]) -> dict[str, Any]:
    """The row as a conversation with a role that the checkpoint's chat template does not know."""
    sides = {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    return row | {"prompt": [{"role": "wizard", "content": row["prompt"]}], **sides}


def test_rows_whose_prompt_is_too_long_are_dropped_and_are_those_that_trl_drops(client: Client, direction: str) -> None:
    rows = rows_with_long_prompts()
    expected = {row["id"] for row in rows} - set(kept_by_trl(rows))
    found = client.filter(rows, direction=direction)
    assert {d.id for d in found.decisions if d.reason is Reason.PROMPT_TOO_LONG} == expected
    assert 0 < len(expected) < 3
    assert not any(d.keep for d in found.decisions if d.id in expected)
    assert all(d.conflict_score is not None for d in found.decisions if d.id not in expected)
    counts = client.directions.get(direction).languages
    assert sum(language.samples for language in counts.values()) == len(rows) - len(expected)


def test_a_conversation_that_the_template_refuses_is_dropped_and_the_others_are_scored(
    client: Client, direction: str
) -> None:
    rows = demo_samples("de", "fr", each=3)
    rows[4] = refused(rows[4])
    (result,) = client.filter_batches(rows, direction=direction)
    assert [d.reason for d in result.decisions] == [None] * 4 + [Reason.TEMPLATE_REFUSED, None]
    assert not result.decisions[4].keep
    assert result.summary.by_language["fr"].kept + result.summary.by_language["fr"].dropped == 3
    assert result.direction.languages == {"de": 3, "fr": 2}


def test_a_request_of_which_nothing_can_be_scored_is_answered(client: Client, direction: str) -> None:
    (result,) = client.filter_batches([refused(row) for row in demo_samples("de", each=2)], direction=direction)
    assert [d.reason for d in result.decisions] == [Reason.TEMPLATE_REFUSED] * 2
    assert (result.summary.kept, result.direction.languages) == (0, {})


def test_streams_and_datasets_go_on_past_such_rows(client: Client, direction: str) -> None:
    rows = demo_samples("de", "fr", each=3)
    rows[1] = rows[1] | {"prompt": "word " * 1500}
    streamed = list(client.filter_stream(rows, direction=f"{direction}-stream", batch_size=3))
    assert [d.reason for d in streamed] == [None, Reason.PROMPT_TOO_LONG, None, None, None, None]
    scored = filter_dataset(Dataset.from_list(rows), client, direction=f"{direction}-dataset")
    assert (scored["keep"][1], scored["conflict_score"][1]) == (False, None)
    assert None not in [*scored["conflict_score"][:1], *scored["conflict_score"][2:]]


def test_the_command_drops_such_rows_and_ends_well(stack: Stack, direction: str, tmp_path: Path) -> None:
    source, kept, dropped = (tmp_path / f"{name}.jsonl" for name in ("in", "kept", "dropped"))
    rows = demo_samples("de", "fr", each=3)
    rows[1], rows[4] = rows[1] | {"prompt": "word " * 1500}, refused(rows[4])
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = run("filter", str(source), "-o", str(kept), "--dropped", str(dropped), "--url", stack.url,
               "--direction", direction)  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = [json.loads(line) for line in dropped.read_text(encoding="utf-8").splitlines()]
    reasons = {row["id"]: row["congrad"]["reason"] for row in written}
    assert reasons[rows[1]["id"]] == "prompt_too_long"
    assert reasons[rows[4]["id"]] == "template_refused"
