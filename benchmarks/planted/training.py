"""DPO with TRL: the same number of steps for every arm, however many pairs it keeps."""

import copy
import tempfile
from collections.abc import Sequence
from typing import Any

from congrad import wire
from datasets import Dataset, disable_progress_bars
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

BETA = 0.1
BATCH = 16
LEARNING_RATE = 3e-4


def train(
    start: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    samples: Sequence[wire.Sample],
    steps: int,
    seed: int,
) -> LlamaForCausalLM:
    """A copy of ``start``, trained on the samples by `DPOTrainer`: AdamW, a rate that falls to zero, all weights."""
    disable_progress_bars()
    keys = ("prompt", "chosen", "rejected")
    dataset = Dataset.from_list([{key: getattr(sample, key) for key in keys} for sample in samples])
    model = copy.deepcopy(start)
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            folder,
            beta=BETA,
            learning_rate=LEARNING_RATE,
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            seed=seed,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
        )
        trainer: Any = DPOTrainer(
            model, copy.deepcopy(start), config, train_dataset=dataset, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.train(False)
    return model
