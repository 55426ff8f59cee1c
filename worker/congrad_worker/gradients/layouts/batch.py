"""Rows of token ids, and what a loss needs to know of the tokens in them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import Spans
from congrad_worker.gradients.layouts.extents import Extents, moved
from congrad_worker.gradients.layouts.segments import Segment, segments_of


@dataclass(frozen=True)
class Targets:
    """The tokens of completions that a model predicts, in any order."""

    sources: Tensor  # int64 [targets]: where in the flattened rows each is predicted
    ids: Tensor  # int64 [targets]
    completions: Tensor  # int64 [targets]: whose it is, 2 * pair + side; side 0 is chosen
    offsets: Tensor  # int64 [targets]: its position in its completion

    def each(self, change: Callable[[Tensor], Tensor]) -> "Targets":
        """The same, with every tensor changed."""
        return Targets(change(self.sources), change(self.ids), change(self.completions), change(self.offsets))


@dataclass(frozen=True)
class Predicting:
    """The tokens that predict a completion's token: a loss looks at no other hidden states above the last layer."""

    tokens: Tensor  # int64 [n]: where in the flattened rows they are, in order
    extents: Extents  # of these alone, in one row

    def to(self, device: torch.device) -> "Predicting":
        """The same on a device."""
        return Predicting(moved(self.tokens, device), self.extents)


@dataclass(frozen=True)
class Batch:
    """Some pairs in rows of one length, in order; padding stands at the end of a row."""

    input_ids: Tensor  # int64 [rows, tokens]
    position_ids: Tensor | None  # int64 [rows, tokens]; None where they count up from 0, as a model does by itself
    branches: (
        Tensor | None
    )  # int64 [rows, tokens]: 3 * (number of the pair in its row) + 0 trunk, 1 chosen, 2 rejected;
    # padding is a further pair's; None without branches
    spans: tuple[Spans, ...]  # of each pair
    extents: Extents
    targets: Targets
    predicting: Predicting | None  # None where they are not told apart by pairs, or a pair has none
    lengths: Tensor  # int64 [pairs, 2]: tokens of the completions
    ref_logps: Tensor  # float32 [pairs, 2]: what the samples brought along, or NaN
    needs_reference: bool  # whether any sample brought nothing along
    ties: Tensor | None  # bool [pairs]: whose completions are the same; None where there are none

    @property
    def pairs(self) -> int:
        """How many pairs the rows hold."""
        return self.lengths.shape[0]

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """What attention computes together, where rows hold whole pairs."""
        return segments_of(self.spans, [divmod(start, self.extents.shape[1]) for start in self.extents.starts])

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; the copy does not wait for what the device is doing."""
        return replace(
            self,
            input_ids=moved(self.input_ids, device),
            position_ids=None if self.position_ids is None else moved(self.position_ids, device),
            branches=None if self.branches is None else moved(self.branches, device),
            targets=self.targets.each(lambda tensor: moved(tensor, device)),
            predicting=None if self.predicting is None else self.predicting.to(device),
            lengths=moved(self.lengths, device),
            ref_logps=moved(self.ref_logps, device),
            ties=None if self.ties is None else moved(self.ties, device),
        )
