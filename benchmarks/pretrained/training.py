"""DPO with LoRA by TRL on a pretrained checkpoint, and what has become of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from congrad.contract import wire
from congrad_worker.checkpoints.pairs import EncodedPair
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.planted.likelihoods import sequence_logps
from benchmarks.planted.training import Recipe, dpo

RANK = 16
Figures = dict[str, float]


@dataclass(frozen=True)
class HeldOut:
    """Pairs with clean labels, whose prompts no pair that is trained on has; of languages that are trained on and of
    others. ``start`` is float64 ``[n, 2]``: their log-probabilities before training, in nats."""

    pairs: list[EncodedPair]
    languages: np.ndarray
    seen: np.ndarray  # bool [n]
    start: np.ndarray

    def measure(self, model: Any) -> Figures:
        """Accuracy is the share of pairs whose margin has grown in favour of the better answer: what DPO calls reward
        accuracy. The tax is the perplexity of the prompts, which no label says anything of."""
        logps = sequence_logps(model, self.pairs)
        margin = (logps - self.start) @ np.array([1.0, -1.0])
        correct = margin > 0
        by_language = [correct[self.languages == tag].mean() for tag in np.unique(self.languages[self.seen])]
        return {
            "seen": float(correct[self.seen].mean()),
            "unseen": float(correct[~self.seen].mean()),
            "worst": float(min(by_language)),
            "margin_seen": float(margin[self.seen].mean()),
            "margin_unseen": float(margin[~self.seen].mean()),
            "perplexity": self._perplexity(model),
        }

    @torch.no_grad()
    def _perplexity(self, model: Any) -> float:
        total, tokens = 0.0, 0
        for pair in self.pairs:
            ids = torch.tensor([pair.prompt_ids])
            if ids.shape[1] > 1:
                logps = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
                total -= float(logps.gather(1, ids[0, 1:, None]).sum())
                tokens += ids.shape[1] - 1
        return math.exp(total / tokens)


def logps_at_start(model: Path, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """log π of chosen and rejected, in nats: float64 ``[n, 2]``."""
    policy: Any = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    return sequence_logps(policy, pairs)


def train(model: Path, samples: Sequence[wire.Sample], recipe: Recipe, seed: int, held: HeldOut) -> list[Figures]:
    """What is measured on the way, the last time at the end: the same steps for every arm, so that one with fewer pairs
    sees them more often."""
    parts = {
        "model": AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        "processing_class": AutoTokenizer.from_pretrained(model),
        "peft_config": LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
    }
    return dpo(parts, samples, recipe, seed, held.measure, precompute_ref_log_probs=True)
