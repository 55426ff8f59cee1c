"""A pair as one row, ``trunk | chosen | rejected``: what both sequences begin with is computed once."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.branches import branches_apart
from congrad_worker.gradients.layouts.layout import Layout

PADDING_BRANCH = 3
"""Padding is a branch of its own, which no token sees."""


class SharedRow(Layout):
    """One row a pair, in models whose masks and positions can be told from outside."""

    name = "a shared row"

    def suits(self, pair: EncodedPair) -> bool:
        """The rejected branch attends to the trunk, whose tokens are saved in return. It begins no row: attention has
        no form for a sequence of no tokens before it."""
        spans = pair.spans
        return 4 * spans.trunk >= min(spans.chosen, spans.rejected) and spans.trunk + spans.chosen > 0

    def rows(self, pair: EncodedPair) -> list[list[int]]:
        rejected = pair.rejected_ids[len(pair.rejected_ids) - pair.spans.rejected :]
        return [pair.prompt_ids + pair.chosen_ids + rejected]

    def tokens(self, pair: EncodedPair) -> int:
        return pair.spans.total

    def place(self, pair: EncodedPair, side: int, tokens: Tensor) -> tuple[int, Tensor]:
        if side == 0:
            return 0, tokens
        # The chosen branch stands between the trunk and the rejected branch.
        return 0, torch.where(tokens < pair.spans.trunk, tokens, tokens + pair.spans.chosen)

    def apart(self, batch: Batch) -> AbstractContextManager[None]:
        return branches_apart(batch)

    def structure(self, pairs: Sequence[EncodedPair], tokens: int) -> tuple[Tensor, Tensor]:
        """Positions restart with the rejected branch: int64 ``[pairs, tokens]`` each."""
        positions = torch.zeros(len(pairs), tokens, dtype=torch.int64)
        branches = torch.full((len(pairs), tokens), PADDING_BRANCH)
        for row, pair in enumerate(pairs):
            s = pair.spans
            first = s.trunk + s.chosen
            positions[row, :first] = torch.arange(first)
            positions[row, first : s.total] = torch.arange(s.trunk, s.trunk + s.rejected)
            branches[row, : s.total] = torch.arange(3).repeat_interleave(torch.tensor([s.trunk, s.chosen, s.rejected]))
        return positions, branches


SHARED_ROW = SharedRow()
