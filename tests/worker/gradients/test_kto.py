"""Completions with labels, from their texts to their gradients, against TRL's own `KTOTrainer`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad.contract import wire
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.modules import target_modules
from congrad_worker.tasks.chunks import ChunkProcessor
from datasets import Dataset
from support.models import checkpoint, engine, save_small_llama
from support.pairs import demo_samples
from support.properties import assert_rows_match
from transformers import AutoTokenizer, LlamaForCausalLM
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

BETA, DESIRABLE, UNDESIRABLE = 0.2, 1.3, 0.6
WEIGHTS = {"beta": BETA, "desirable_weight": DESIRABLE, "undesirable_weight": UNDESIRABLE}
MAX_LENGTH = 60


def standard(row: dict[str, Any], label: bool) -> dict[str, Any]:
    return {"prompt": row["prompt"], "completion": row["chosen" if label else "rejected"][:20], "label": label}


def conversational(row: dict[str, Any], label: bool) -> dict[str, Any]:
    plain = standard(row, label)
    prompt, completion = ([{"role": role, "content": plain[name]}] for role, name in
                          (("user", "prompt"), ("assistant", "completion")))  # fmt: skip
    return plain | {"prompt": prompt, "completion": completion}


def labelled(form: Any) -> list[dict[str, Any]]:
    """Rows of both labels, in several scripts."""
    rows = demo_samples("en", "de", "ja", "ar", each=1)
    return [form(row, label) for row, label in zip(rows, (True, False, False, True), strict=True)]


@pytest.fixture(scope="module")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model, near to the first."""
    folder = save_small_llama(tmp_path_factory.mktemp("other-llama"))
    model = LlamaForCausalLM.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


class Truth:
    """A `KTOTrainer` over some rows, and its gradients in the weights that the engine takes them of."""

    def __init__(self, folder: Path, reference: Path, rows: list[dict[str, Any]], output: Path, loss: str = "kto"):
        self._model = LlamaForCausalLM.from_pretrained(folder)
        options: dict[str, Any] = {
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "activation_checkpointing": False,
            **WEIGHTS,
        }
        self.trainer: Any = KTOTrainer(
            self._model,
            LlamaForCausalLM.from_pretrained(reference),
            KTOConfig(str(output), loss_type=loss, max_length=MAX_LENGTH, **options),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        names = target_modules(checkpoint(folder).model, None)
        self._weights = [self._model.get_parameter(f"{name}.weight") for name in names]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """As they are trained on."""
        return list(self.trainer.train_dataset)

    def gradient(self, *rows: dict[str, Any]) -> np.ndarray:
        """Of the loss of a batch."""
        batch = self.trainer.data_collator(list(rows))
        parts = torch.autograd.grad(self.trainer.compute_loss(self._model, batch), self._weights)
        found: np.ndarray = torch.cat([part.flatten() for part in parts]).cpu().numpy()
        return found

    def gradients(self) -> np.ndarray:
        """Of each row, in a batch of one."""
        return np.stack([self.gradient(row) for row in self.rows])

    def divergences(self) -> list[float]:
        """The estimates of KL that it has taken so far."""
        return list(self.trainer._metrics["eval"]["kl"])  # its model is loaded to be looked at, and has no dropout


def sample_of(row: dict[str, Any]) -> wire.PromptCompletion:
    return wire.PromptCompletion.model_validate_json(json.dumps({"language": "de"} | row))


def encoded(machine: GradientEngine, rows: list[dict[str, Any]]) -> list[EncodedPair]:
    encoder = Encoder(machine.checkpoint.tokenizer, MAX_LENGTH)
    return [encoder.encode(sample_of(row)) for row in rows]


@pytest.mark.parametrize("form", [standard, conversational])
def test_tokens_and_exact_gradients_are_those_of_the_kto_trainer(form: Any, small_llama: Path, tmp_path: Path) -> None:
    rows = labelled(form)
    truth = Truth(small_llama, small_llama, rows, tmp_path)
    machine = engine(small_llama, loss="kto", projection="exact", **WEIGHTS)
    pairs = encoded(machine, rows)
    for pair, row, theirs in zip(pairs, rows, truth.rows, strict=True):
        sides = (pair.chosen_ids, pair.rejected_ids)
        assert (pair.prompt_ids, sides[not row["label"]]) == (
            theirs["prompt_ids"],
            theirs["completion_ids"][: MAX_LENGTH - len(pair.prompt_ids)],
        )
        assert sides[row["label"]] == []
        assert not pair.is_tie
    assert {SHARED_ROW.suits(pair) for pair in pairs} == {True}
    expected = truth.gradients()
    assert set(truth.divergences()) == {0.0}
    for layout in (SHARED_ROW, TWO_ROWS):
        gradients = np.concatenate([machine.batch_gradients([pair], layout).detach().cpu().numpy() for pair in pairs])
        assert_rows_match(gradients, expected, 1e-5)
    assert_rows_match(machine.compute(pairs).values, expected, 1e-5)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_divergence_of_a_batch_changes_how_much_a_completion_counts_and_not_its_direction(
    swapped: bool, small_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    folder, reference = (other_llama, small_llama) if swapped else (small_llama, other_llama)
    rows = labelled(standard)
    truth = Truth(folder, reference, rows, tmp_path)
    machine = engine(folder, loss="kto", projection="exact", reference=str(reference), **WEIGHTS)
    gradients, expected = machine.compute(encoded(machine, rows)).values, truth.gradients()
    unit, unit_expected = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (gradients, expected))
    assert_rows_match(unit, unit_expected, 1e-5)
    is_zero = np.array(truth.divergences()) == 0
    assert (is_zero.any(), (~is_zero).any()) == (True, True), truth.divergences()
    assert_rows_match(gradients[is_zero], expected[is_zero], 1e-5)


def test_apo_zero_without_pairs_is_that_of_the_kto_trainer(
    small_llama: Path, other_llama: Path, tmp_path: Path
) -> None:
    rows = labelled(standard)
    truth = Truth(small_llama, other_llama, rows, tmp_path, "apo_zero_unpaired")
    machine = engine(small_llama, loss="apo_zero_unpaired", projection="exact", reference=str(other_llama), **WEIGHTS)
    assert_rows_match(machine.compute(encoded(machine, rows)).values, truth.gradients(), 1e-5)


def test_a_pair_is_the_two_rows_that_the_kto_trainer_makes_of_it(small_llama: Path, tmp_path: Path) -> None:
    pairs = [{name: row[name][:30] for name in ("prompt", "chosen", "rejected")} for row in demo_samples("de", each=2)]
    truth = Truth(small_llama, small_llama, pairs, tmp_path)
    rows = truth.rows  # chosen completions first
    assert [row["label"] for row in rows] == [True, True, False, False]
    machine = engine(small_llama, loss="kto", projection="exact", **WEIGHTS)
    encoder = Encoder(machine.checkpoint.tokenizer, MAX_LENGTH)
    found = [encoder.encode(wire.Sample.model_validate({"language": "de"} | pair)) for pair in pairs]
    expected = np.stack([truth.gradient(chosen, rejected) for chosen, rejected in zip(rows[:2], rows[2:], strict=True)])
    assert_rows_match(machine.compute(found).values, expected, 1e-5)


def test_an_unwanted_completion_points_against_the_same_one_that_is_wanted(small_llama: Path) -> None:
    machine = engine(small_llama, loss="kto")
    without_prompt = EncodedPair([], [5, 6, 7], [], truncated=False)
    against = EncodedPair([], [], [5, 6, 7], truncated=False)
    row = standard(demo_samples("en", each=1)[0], True)
    pairs = [without_prompt, against, *encoded(machine, [row, row | {"label": False}])]
    values = machine.compute(pairs).values
    assert values.any(1).all()
    assert_rows_match(values[[1, 3]], -values[[0, 2]], 1e-4)


@pytest.mark.parametrize("label", [True, False])
def test_a_completion_without_tokens_has_a_zero_gradient_whatever_its_label(label: bool, small_llama: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_llama)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    row = conversational(demo_samples("en", each=1)[0], label)
    row["completion"][0]["content"] = ""
    pair = Encoder(tokenizer, MAX_LENGTH).encode(sample_of(row))
    assert pair.is_tie
    assert not engine(small_llama, loss="kto").compute([pair]).values.any()


def test_a_worker_refuses_completions_without_a_label(small_llama: Path) -> None:
    machine = engine(small_llama, loss="kto")
    store: Any = None  # what is computed here needs none
    row = standard(demo_samples("de", each=1)[0], True)
    samples: list[wire.AnySample] = [sample_of(row | {"id": "a"}), sample_of(row | {"id": "b", "label": None})]
    (result,) = ChunkProcessor(store, Encoder(machine.checkpoint.tokenizer, MAX_LENGTH), machine).compute([samples])
    (error,) = result.errors
    assert error[0] == 1
    assert error[1].startswith("has a completion without a label, and the workers' loss is kto, which needs one")
