"""TRL's own `DPOTrainer`, to compare losses and gradients with."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, LlamaForCausalLM
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer


def trl_options(options: dict[str, Any]) -> dict[str, Any]:
    """Our settings as arguments of a `DPOConfig`."""
    given = {name: value for name, value in options.items() if name not in ("loss", "loss_weights")}
    weights = [float(weight) for weight in options["loss_weights"].split(",")] if "loss_weights" in options else None
    return given | {"loss_type": options["loss"].split(","), "loss_weights": weights}


def dpo_trainer(
    model: LlamaForCausalLM, reference: Path, options: dict[str, Any], dataset: Dataset, tokenizer: Path, folder: Path
) -> Any:
    """A trainer of ``model`` that is not told to train.

    :param options: our settings, ``loss`` among them.
    :param tokenizer: a checkpoint.
    :param folder: for what it writes.
    """
    return DPOTrainer(
        model,
        LlamaForCausalLM.from_pretrained(reference),
        DPOConfig(
            str(folder),
            **trl_options(options),
            report_to="none",
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
        ),
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(tokenizer),
    )
