"""DPO with TRL: the same number of steps for every arm, however many pairs it keeps."""

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from congrad.contract import wire
from datasets import Dataset, disable_progress_bars
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

BETA = 0.1
Figures = dict[str, float]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast models are trained, the same for every arm; and how often they are measured on the way,
    evenly, the last time at the end."""

    steps: int
    batch: int = 16
    learning_rate: float = 3e-4
    looks: int = 5


class Watcher(TrainerCallback):
    """Measures a model as it is trained."""

    def __init__(self, measure: Callable[[LlamaForCausalLM], Figures], recipe: Recipe):
        self.found: list[Figures] = []
        self._measure = measure
        self._due = {recipe.steps * (look + 1) // recipe.looks for look in range(recipe.looks)}

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - transformers passes them by position
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """After each step of the optimiser."""
        if state.global_step in self._due:
            model = kwargs["model"]
            model.train(False)
            self.found.append({"step": state.global_step, **self._measure(model)})
            model.train()


def train(
    start: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    samples: Sequence[wire.Sample],
    recipe: Recipe,
    seed: int,
    measure: Callable[[LlamaForCausalLM], Figures],
) -> list[Figures]:
    """What ``measure`` says of a copy of ``start`` as it is trained on the samples, the last time of the trained one.

    All weights are trained.
    """
    parts = {"model": copy.deepcopy(start), "ref_model": copy.deepcopy(start), "processing_class": tokenizer}
    return dpo(parts, samples, recipe, seed, measure)


def dpo(
    parts: Mapping[str, Any],
    samples: Sequence[wire.Sample],
    recipe: Recipe,
    seed: int,
    measure: Callable[[Any], Figures],
    **options: Any,
) -> list[Figures]:
    """What ``measure`` says of a model on the way, the last time at the end. By `DPOTrainer`: AdamW, a rate that falls
    to zero.

    :param parts: the trainer's models, tokenizer and adapter.
    :param options: of `DPOConfig`, beside the recipe's.
    """
    disable_progress_bars()
    keys = ("prompt", "chosen", "rejected")
    dataset = Dataset.from_list([{key: getattr(sample, key) for key in keys} for sample in samples])
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            folder,
            beta=BETA,
            learning_rate=recipe.learning_rate,
            per_device_train_batch_size=recipe.batch,
            max_steps=recipe.steps,
            seed=seed,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            **options,
        )
        trainer: Any = DPOTrainer(args=config, train_dataset=dataset, **parts)
        watcher = Watcher(measure, recipe)
        trainer.add_callback(watcher)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return watcher.found
