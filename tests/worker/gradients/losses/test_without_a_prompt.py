"""Sequences that begin with their completion, whose first token nothing predicts: TRL's trainers count it in some of
their lengths, and not in others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import LAYOUTS, GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.modules import target_modules
from datasets import Dataset
from support.models import engine, tokenizer_without_bos
from support.properties import assert_rows_match
from support.trainers import dpo_trainer
from transformers import AutoTokenizer, LlamaForCausalLM

ROWS = [
    {"prompt": "", "chosen": "It is as blue as ever.", "rejected": "No."},
    {"prompt": "", "chosen": "Ja.", "rejected": "Ja, aber nicht heute."},  # the completions share tokens
    {"prompt": "Why?", "chosen": " Because.", "rejected": " As it was so before."},
]
VARIANTS: list[dict[str, Any]] = [
    {"loss": "ipo"},
    {"loss": "sigmoid_norm"},
    {"loss": "sft"},
    {"loss": "sigmoid", "ld_alpha": 0.3},
    {"loss": "sigmoid", "use_weighting": True},
    {"loss": "sigmoid,sft", "ld_alpha": 0.3},
    {"loss": "ipo,sft,sigmoid_norm", "loss_weights": "0.5,2.0,1.0", "use_weighting": True},
]


@pytest.fixture(scope="module")
def policy(small_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("without-bos")
    LlamaForCausalLM.from_pretrained(small_llama).save_pretrained(folder)
    tokenizer_without_bos(small_llama).save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)("")["input_ids"] == []
    return folder


def pair_of(row: dict[str, Any]) -> EncodedPair:
    """What TRL makes of a row."""
    return EncodedPair(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"], truncated=False)


def truths(model: LlamaForCausalLM, names: list[str], losses: list[Callable[[], torch.Tensor]]) -> np.ndarray:
    """Gradients of losses in the weights of the named modules: float32 ``[losses, weights]``."""
    weights = [model.get_parameter(f"{name}.weight") for name in names]
    gradients = [torch.autograd.grad(loss(), weights) for loss in losses]
    return np.stack([torch.cat([part.flatten() for part in of_one]).cpu().numpy() for of_one in gradients])


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))
def test_gradients_are_those_of_the_dpo_trainer_in_every_layout(
    options: dict[str, Any], policy: Path, reference_llama: Path, tmp_path: Path
) -> None:
    model = LlamaForCausalLM.from_pretrained(policy)
    trainer = dpo_trainer(model, reference_llama, options, Dataset.from_list(ROWS), policy, tmp_path)
    machine = engine(
        policy,
        projection="exact",
        **options,
        **({} if options["loss"] == "sft" else {"reference": str(reference_llama)}),
    )
    pairs = [pair_of(row) for row in trainer.train_dataset]
    assert [pair.spans.trunk for pair in pairs[:2]] == [0, 2]
    expected = assert_as_in_the_trainer(machine, trainer, model, pairs)
    assert_rows_match(machine.compute(pairs).values, expected, 2e-5)


def assert_as_in_the_trainer(
    machine: GradientEngine, trainer: Any, model: LlamaForCausalLM, pairs: list[EncodedPair]
) -> np.ndarray:
    """In every layout. The trainer's gradients, ``[pairs, D]``."""
    assert [pair.prompt_ids == [] for pair in pairs] == [True, True, False]
    names = list(target_modules(machine.checkpoint.model, None))
    expected = truths(
        model,
        names,
        [
            lambda one=one: trainer.compute_loss(model, trainer.data_collator([one]))  # type: ignore[misc]
            for one in trainer.train_dataset
        ],
    )
    for layout in LAYOUTS:
        assert_rows_match(gradients(machine, pairs, layout), expected, 2e-5)
    return expected


def gradients(machine: Any, pairs: list[EncodedPair], layout: Layout) -> np.ndarray:
    found: np.ndarray = machine.batch_gradients([machine.seen(pair) for pair in pairs], layout).cpu().numpy()
    return found


@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
def test_simpo_is_that_of_the_cpo_trainer_in_every_layout(policy: Path, tmp_path: Path) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    model = LlamaForCausalLM.from_pretrained(policy)
    trainer: Any = CPOTrainer(
        model,
        CPOConfig(
            str(tmp_path),
            beta=2.0,
            simpo_gamma=1.2,
            loss_type="simpo",
            cpo_alpha=0.0,
            report_to="none",
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            remove_unused_columns=False,
        ),
        train_dataset=Dataset.from_list(ROWS),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )
    machine = engine(policy, loss="simpo", beta=2.0, simpo_gamma=1.2, projection="exact")
    pairs = [
        EncodedPair(
            row["prompt_input_ids"],
            row["chosen_input_ids"][len(row["prompt_input_ids"]) :],
            row["rejected_input_ids"][len(row["prompt_input_ids"]) :],
            truncated=False,
        )
        for row in trainer.train_dataset
    ]
    assert_as_in_the_trainer(machine, trainer, model, pairs)
