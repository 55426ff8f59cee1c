r"""Training with TRL, a LoRA, and the length-penalised loss of the workers' ``CONGRAD_LOSS=lp``.

.. math:: -\log\sigma(\beta\Delta + \alpha(|y_w| - |y_l|))

(R-DPO, Park et al. 2024, arXiv 2403.19159; the equation of CONGRAD's own LP-DPO is not public.) TRL has no such loss,
but the penalty is a shift of the reference's log-probabilities: with
:math:`\log\pi_\mathrm{ref}(y|x) - |y|\,\alpha/\beta` in their place TRL's ``sigmoid`` is this loss.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch import Tensor
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from .judging import Pair
from .settings import Settings


class LengthPenalisedTrainer(DPOTrainer):
    """Needs ``precompute_ref_log_probs``. What it logs as rewards includes the penalty."""

    def __init__(self, *args: Any, length_penalty: float, **options: Any):
        self._length_penalty = length_penalty
        super().__init__(*args, **options)

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The reference's, shifted: float32 ``[pairs]`` of the chosen and of the rejected completions."""
        chosen, rejected = super().compute_ref_log_probs(model, inputs)  # type: ignore[no-untyped-call] # TRL's is
        shifts = inputs["completion_mask"].sum(dim=1) * self._length_penalty / self.beta  # [2 * pairs]
        of_chosen, of_rejected = shifts.chunk(2)
        return chosen - of_chosen, rejected - of_rejected


def train(pairs: Sequence[Pair], checkpoint: str, folder: Path, settings: Settings) -> float:
    """Saves the checkpoint trained on the pairs in ``folder``: the LoRA merged, in safetensors.

    :returns: the mean loss.
    """
    with TemporaryDirectory() as scratch:
        trainer = trainer_of(pairs, checkpoint, Path(scratch), settings)
        loss = float(trainer.train().training_loss)
    model: Any = trainer.model
    tokenizer: Any = trainer.processing_class
    model.merge_and_unload().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss


def trainer_of(pairs: Sequence[Pair], checkpoint: str, scratch: Path, settings: Settings) -> LengthPenalisedTrainer:
    """One epoch on the pairs. The reference is the checkpoint itself, as it is for the workers."""
    config = DPOConfig(
        output_dir=str(scratch),
        beta=settings.beta,
        max_length=settings.max_length,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.train_batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=1,
        precompute_ref_log_probs=True,
        bf16=settings.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        model_init_kwargs={"dtype": settings.dtype},
        save_strategy="no",
        report_to="none",
        seed=settings.seed,
    )
    return LengthPenalisedTrainer(
        checkpoint,
        args=config,
        train_dataset=Dataset.from_list([pair.model_dump() for pair in pairs]),
        peft_config=LoraConfig(r=settings.lora_rank, lora_alpha=2 * settings.lora_rank, target_modules="all-linear"),
        length_penalty=settings.length_penalty,
    )
