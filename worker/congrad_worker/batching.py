"""Micro-batches: pairs of like length together, within a budget of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from congrad_worker.encoding import EncodedPair

IGNORED = -100
"""The target of positions that no loss is taken at, as in `torch.nn.functional.cross_entropy`."""


@dataclass(frozen=True)
class Batch:
    """The rows of some pairs: chosen and rejected of the first, chosen and rejected of the second, ...

    Padding stands at the end. Under a causal mask no token sees it, so no attention mask is needed.
    """

    input_ids: Tensor  # int64 [2 * pairs, tokens]
    targets: Tensor  # int64 [2 * pairs, kept]: what the last ``kept`` positions should predict, or IGNORED

    @property
    def kept(self) -> int:
        """How many positions at the end of the rows logits are needed of."""
        return self.targets.shape[1]

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(self.input_ids.to(device, non_blocking=True), self.targets.to(device, non_blocking=True))


def micro_batches(pairs: Sequence[EncodedPair], max_tokens: int) -> list[list[int]]:
    """Positions of ``pairs`` in groups of at most ``max_tokens`` padded tokens, the longest first.

    A pair that is over the budget makes a group of its own.
    """
    groups: list[list[int]] = []
    for position in sorted(range(len(pairs)), key=lambda i: -pairs[i].length):
        # The first of a group is its longest, so it sets the padded length.
        if groups and 2 * (len(groups[-1]) + 1) * pairs[groups[-1][0]].length <= max_tokens:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def collate(pairs: Sequence[EncodedPair], pad_id: int) -> Batch:
    """Pads the rows of ``pairs`` to one length."""
    rows = [(p.prompt_ids, completion) for p in pairs for completion in (p.chosen_ids, p.rejected_ids)]
    tokens = max(len(prompt) + len(completion) for prompt, completion in rows)
    # The token at position t predicts the one at t + 1; nothing predicts the first.
    first = max(min(len(prompt) for prompt, _ in rows) - 1, 0)
    input_ids = torch.full((len(rows), tokens), pad_id)
    targets = torch.full((len(rows), tokens - first), IGNORED)
    for row, (prompt, completion) in enumerate(rows):
        ids = torch.tensor(prompt + completion)
        input_ids[row, : len(ids)] = ids
        start = max(len(prompt), 1)
        targets[row, start - 1 - first : len(ids) - 1 - first] = ids[start:]
    return Batch(input_ids, targets)
