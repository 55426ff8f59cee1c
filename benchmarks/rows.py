"""DPO as trainers compute it: chosen and rejected are two rows of one padded batch, logits of every position.

Needs torch alone, so that a peer's process can use it too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


class Pair(Protocol):
    """Token ids of a preference pair."""

    @property
    def prompt_ids(self) -> list[int]: ...
    @property
    def chosen_ids(self) -> list[int]: ...
    @property
    def rejected_ids(self) -> list[int]: ...


@dataclass(frozen=True)
class Rows:
    """Chosen and rejected of the first pair, chosen and rejected of the second, ...; padding stands at the end, where
    under a causal mask no token sees it, so none of the arms pays for an attention mask."""

    input_ids: Tensor  # int64 [2 * pairs, tokens]
    targets: Tensor  # int64 [2 * pairs, tokens - 1]: the next token, or IGNORED


def sequences(pairs: Sequence[Pair]) -> tuple[list[list[int]], list[list[int]]]:
    """The rows of some pairs, and their labels: IGNORED in the prompt."""
    ids, labels = [], []
    for pair in pairs:
        for completion in (pair.chosen_ids, pair.rejected_ids):
            ids.append(pair.prompt_ids + completion)
            labels.append([IGNORED] * len(pair.prompt_ids) + completion)
    return ids, labels


def pad(pairs: Sequence[Pair], device: torch.device) -> Rows:
    """Pads the rows of some pairs to one length."""
    ids, labels = sequences(pairs)
    tokens = max(map(len, ids))
    padded_ids = [row + [0] * (tokens - len(row)) for row in ids]
    padded_labels = [row + [IGNORED] * (tokens - len(row)) for row in labels]
    return Rows(torch.tensor(padded_ids, device=device), torch.tensor(padded_labels, device=device)[:, 1:])


def margins(model: torch.nn.Module, rows: Rows) -> Tensor:
    """log π(chosen) − log π(rejected), in nats: float32 ``[pairs]``.

    Like TRL's `selective_log_softmax`: the logit of the label minus a logsumexp, row by row to save memory.
    """
    logits: Tensor = model(input_ids=rows.input_ids, use_cache=False).logits[
        :, :-1
    ]  # [2 * pairs, tokens - 1, vocabulary]
    chosen_logits = logits.gather(-1, rows.targets.clamp(min=0).unsqueeze(-1)).squeeze(-1).float()
    logps = chosen_logits - torch.stack([row.float().logsumexp(-1) for row in logits])
    chosen, rejected = logps.masked_fill(rows.targets == IGNORED, 0).sum(1).view(-1, 2).unbind(1)
    return chosen - rejected


def loss(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """DPO's, summed over the pairs: each pair's gradient is its own."""
    return -F.logsigmoid(beta * (policy - reference)).sum()
