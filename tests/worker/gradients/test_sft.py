"""A prompt with its completion, from its texts to its gradient, against TRL's own `SFTTrainer`."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from congrad.contract import wire
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.modules import target_modules
from congrad_worker.tasks.chunks import ChunkProcessor
from datasets import Dataset, IterableDataset
from support.models import DEMO_CHECKPOINT, SHARED_CHECKPOINT, SHARED_PAIRS, checkpoint, engine
from support.pairs import FIELDS, demo_samples, file_rows
from support.properties import assert_rows_match
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

IGNORED = -100
OPTIONS: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": "none", "gradient_checkpointing": None}
"""Nothing is trained; TRL's default for checkpointing is a name that transformers 5 warns of."""


def standard(row: dict[str, Any]) -> dict[str, Any]:
    """The chosen answer of a pair as the one completion."""
    return {name: row[name] for name in ("id", "language", "prompt")} | {"completion": row["chosen"]}


def conversational(row: dict[str, Any]) -> dict[str, Any]:
    turns = zip(("user", "assistant", "user"), (row["language"], row["rejected"], row["prompt"]), strict=True)
    prompt = [{"role": role, "content": text} for role, text in turns]
    return standard(row) | {"prompt": prompt, "completion": [{"role": "assistant", "content": row["chosen"]}]}


@pytest.fixture(scope="module", params=["demo", "shared"])
def real(request: pytest.FixtureRequest) -> tuple[PreTrainedTokenizerBase, list[dict[str, Any]]]:
    """A tokenizer and real pairs: those that are shipped, and those on this machine."""
    if request.param == "demo":
        return AutoTokenizer.from_pretrained(DEMO_CHECKPOINT), demo_samples(each=3)
    if not SHARED_PAIRS.exists():
        pytest.skip("the real pairs are not on this machine")
    rows = [{name: row[name] for name in FIELDS} for row in file_rows(SHARED_PAIRS, each=2)]
    return AutoTokenizer.from_pretrained(SHARED_CHECKPOINT), rows


def sample_of(row: dict[str, Any]) -> wire.PromptCompletion:
    return wire.PromptCompletion.model_validate_json(json.dumps(row))


def trl_rows(
    tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], max_length: int
) -> Iterator[tuple[str, list[int], list[int]]]:
    """Ids, token ids and labels of what TRL trains on, by its own preparation of rows of one form.

    The rows are iterated over, not held in Arrow, which would fill every row with the keys of all others.
    """
    config = SFTConfig(max_length=max_length, **OPTIONS)
    # What its constructor sets where rows have a prompt and a completion.
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer, completion_only_loss=True, chat_template=None)
    dataset = IterableDataset.from_generator(lambda: iter(rows))
    for row in SFTTrainer._prepare_dataset(trainer, dataset, tokenizer, config, False, None, "train"):
        yield row["id"], row["input_ids"], row["labels"]


def assert_like_trl(
    tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]], max_length: int = 10_000
) -> list[EncodedPair]:
    """Every row has TRL's token ids and labels; those that TRL leaves out are refused, or have nothing to learn."""
    assert rows
    encoder, found = Encoder(tokenizer, max_length), []
    expected = {name: (ids, labels) for name, ids, labels in trl_rows(tokenizer, rows, max_length)}
    for row in rows:
        if row["id"] not in expected:
            with pytest.raises(ValueError, match="the prompt alone has"):
                encoder.encode(sample_of(row))
            continue
        pair = encoder.encode(sample_of(row))
        labels = [IGNORED] * len(pair.prompt_ids) + pair.chosen_ids
        assert (pair.prompt_ids + pair.chosen_ids, labels) == expected[row["id"]], row
        assert (pair.rejected_ids, pair.is_tie, pair.ref_logps) == ([], False, None)
        found.append(pair)
    return found


@pytest.mark.parametrize("form", [standard, conversational])
def test_token_ids_and_labels_are_those_of_the_sft_trainer(
    form: Any, real: tuple[PreTrainedTokenizerBase, list[dict[str, Any]]]
) -> None:
    tokenizer, rows = real
    assert not any(pair.truncated for pair in assert_like_trl(tokenizer, [form(row) for row in rows]))


@pytest.mark.parametrize("form", [standard, conversational])
def test_long_completions_are_cut_and_long_prompts_left_out_where_the_sft_trainer_does(
    form: Any, real: tuple[PreTrainedTokenizerBase, list[dict[str, Any]]]
) -> None:
    tokenizer, rows = real[0], [form(row) for row in real[1]]
    lengths = sorted(len(pair.prompt_ids) for pair in assert_like_trl(tokenizer, rows))
    middle = lengths[len(lengths) // 2]  # the very length of a prompt: it leaves no room, one token less does
    cut = assert_like_trl(tokenizer, rows, middle)
    assert 0 < len(cut) < len(rows)
    assert any(pair.truncated for pair in cut)
    assert len(assert_like_trl(tokenizer, rows, middle + 1)) > len(cut)


@pytest.mark.parametrize("tail", ["", "{end}", " ", "{end}\n", "{end}{end}"])
def test_an_end_of_sequence_is_added_once(tail: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    end = tokenizer.eos_token
    rows = [
        row | {"completion": row["completion"] + tail.format(end=end)} for row in map(standard, demo_samples(each=1))
    ]
    rows += [row | {"id": f"{row['id']} empty", "completion": tail.format(end=end)} for row in rows]
    rows += [row | {"id": f"{row['id']} no prompt", "prompt": ""} for row in rows]
    for pair in assert_like_trl(tokenizer, rows):
        assert pair.chosen_ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    "columns",
    [{}, {"tools": []}, {"tools": json.dumps([{"name": "f"}])}, {"chat_template_kwargs": {"polite": True}}],
    ids=["none", "empty", "json", "kwargs"],
)
def test_tools_and_template_variables_reach_the_template_as_in_trl(columns: dict[str, Any]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    tokenizer.chat_template = (
        "{{ tools | tojson if tools is not none else '-' }}{{ polite }}"
        "{% for message in messages %}<{{ message.role }}>{{ message.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    assert_like_trl(tokenizer, [conversational(row) | columns for row in demo_samples("de", "ja", "zh", each=1)])


def test_a_completion_without_tokens_of_its_own_is_left_out_by_trl_and_has_a_zero_gradient(small_llama: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_llama)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    rows = [conversational(row) for row in demo_samples("en", each=2)]
    rows[0]["completion"][0]["content"] = ""
    assert [name for name, _, _ in trl_rows(tokenizer, rows, 1_000)] == [rows[1]["id"]]
    pairs = [Encoder(tokenizer, 1_000).encode(sample_of(row)) for row in rows]
    assert pairs[0].is_tie
    machine = engine(small_llama, loss="sft")
    gradients = machine.compute(pairs).values
    assert [bool(row.any()) for row in gradients] == [False, True]
    assert not machine.compute(pairs[:1]).values.any()


def test_the_only_token_of_a_sequence_has_a_zero_gradient(small_llama: Path) -> None:
    """Nothing stands before it that could predict it."""
    gradients = engine(small_llama, loss="sft").compute([EncodedPair([], [7], [], truncated=False)])
    assert not gradients.values.any()


@pytest.mark.parametrize("form", [standard, conversational])
def test_exact_gradients_are_those_of_the_sft_trainers_loss(form: Any, small_llama: Path, tmp_path: Path) -> None:
    rows = [form(row) for row in demo_samples("en", "ja", "ar", each=2)]
    model = LlamaForCausalLM.from_pretrained(small_llama)
    trainer: Any = SFTTrainer(
        model,
        SFTConfig(str(tmp_path), max_length=200, **OPTIONS),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(small_llama),
    )
    names = list(target_modules(checkpoint(small_llama).model, None))
    weights = [model.get_parameter(f"{name}.weight") for name in names]
    truths = []
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        gradients = torch.autograd.grad(trainer.compute_loss(model, batch), weights)
        truths.append(torch.cat([gradient.flatten() for gradient in gradients]).cpu().numpy())
    machine = engine(small_llama, loss="sft", projection="exact")
    encoder = Encoder(machine.checkpoint.tokenizer, 200)
    pairs = [encoder.encode(sample_of(row)) for row in rows]
    assert {SHARED_ROW.suits(pair) for pair in pairs} == {True}, "one row each"
    assert_rows_match(machine.compute(pairs).values, np.stack(truths), 1e-5)
    machine = machine.restricted([TWO_ROWS])
    assert_rows_match(machine.compute(pairs).values, np.stack(truths), 1e-5)


def test_a_completion_weighs_what_the_chosen_side_of_a_pair_does(small_llama: Path) -> None:
    machine = engine(small_llama, loss="sft")
    encoder = Encoder(machine.checkpoint.tokenizer, 200)
    rows = demo_samples("de", "zh", each=2)
    pairs = [encoder.encode(wire.Sample.model_validate(row)) for row in rows]
    completions = [encoder.encode(sample_of(standard(row))) for row in rows]
    assert_rows_match(machine.compute(completions).values, machine.compute(pairs).values, 1e-5)


def test_a_worker_refuses_completions_where_its_loss_compares(small_llama: Path) -> None:
    """The service has refused them before; a worker with another loss may have taken over meanwhile."""
    machine = engine(small_llama)
    store: Any = None  # what is computed here needs none
    processor = ChunkProcessor(store, Encoder(machine.checkpoint.tokenizer, 200), machine)
    row = demo_samples("de", each=1)[0]
    (result,) = processor.compute([[wire.Sample.model_validate(row), sample_of(standard(row) | {"id": "b"})]])
    (error,) = result.errors
    assert error[0] == 1
    assert error[1].startswith("has a completion and no rejected, and the workers' loss is sigmoid, which compares two")
