"""What a model makes of pairs and texts: log-probabilities, preferences, perplexity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from congrad_worker.checkpoints.pairs import EncodedPair
from transformers import LlamaForCausalLM

from benchmarks.planted.pretraining import Batch, loss
from benchmarks.rows import IGNORED, pad

LOGITS_AT_ONCE = 2**26
"""256 MiB, and as much again for their logarithms."""


@torch.no_grad()
def sequence_logps(model: LlamaForCausalLM, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """log π of chosen and of rejected, in nats: float64 ``[pairs, 2]``."""
    found = np.empty((len(pairs), 2))
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].length)
    longest = pairs[order[-1]].length
    at_once = max(1, LOGITS_AT_ONCE // (2 * longest * model.config.vocab_size))
    for start in range(0, len(pairs), at_once):
        positions = order[start : start + at_once]
        rows = pad([pairs[i] for i in positions], torch.device("cpu"))
        logps = model(input_ids=rows.input_ids, use_cache=False).logits[:, :-1].log_softmax(-1)
        targets = logps.gather(-1, rows.targets.clamp(min=0)[..., None])[..., 0]  # [2 * pairs, tokens - 1]
        found[positions] = targets.masked_fill(rows.targets == IGNORED, 0).sum(1).view(-1, 2).double().numpy()
    return found


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, texts: Batch) -> float:
    """Of the answers' tokens."""
    return math.exp(loss(model, texts).item())


@dataclass(frozen=True)
class HeldOut:
    """Clean pairs of all languages, and texts of the task without preferences."""

    pairs: list[EncodedPair]
    seen: np.ndarray  # bool [pairs]: whether the language is one of those trained on
    texts: Batch

    def measure(self, model: LlamaForCausalLM, start: np.ndarray) -> dict[str, float]:
        """The figures of a trained model; ``start`` holds the start model's `sequence_logps` of the pairs.

        Accuracy is the share of pairs whose chosen answer is the more likely one. The margin is by how many nats the
        log-ratio of chosen to rejected has grown: DPO's reward margin over β.
        """
        logps = sequence_logps(model, self.pairs)
        preference = logps[:, 0] - logps[:, 1]
        correct, margin = preference > 0, preference - (start[:, 0] - start[:, 1])
        return {
            "seen": float(correct[self.seen].mean()),
            "unseen": float(correct[~self.seen].mean()),
            "margin_seen": float(margin[self.seen].mean()),
            "margin_unseen": float(margin[~self.seen].mean()),
            "perplexity": perplexity(model, self.texts),
        }
