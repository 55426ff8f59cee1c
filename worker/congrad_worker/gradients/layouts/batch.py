"""Rows of token ids, and what a loss needs to know of the tokens in them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import Spans


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
class Batch:
    """Some pairs in rows of one length, in order; padding stands at the end of a row."""

    input_ids: Tensor  # int64 [rows, tokens]
    position_ids: Tensor | None  # int64 [rows, tokens]; None where they count up from 0, as a model does by itself
    branches: Tensor | None  # int64 [rows, tokens]: 0 trunk, 1 chosen, 2 rejected, 3 padding; None without branches
    spans: tuple[Spans, ...]  # of each pair
    targets: Targets
    lengths: Tensor  # int64 [pairs, 2]: tokens of the completions
    ref_logps: Tensor  # float32 [pairs, 2]: what the samples brought along, or NaN
    needs_reference: bool  # whether any sample brought nothing along

    @property
    def pairs(self) -> int:
        """How many pairs the rows hold."""
        return self.lengths.shape[0]

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; the copy does not wait for what the device is doing."""

        def move(tensor: Tensor) -> Tensor:
            return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

        return replace(
            self,
            input_ids=move(self.input_ids),
            position_ids=None if self.position_ids is None else move(self.position_ids),
            branches=None if self.branches is None else move(self.branches),
            targets=self.targets.each(move),
            lengths=move(self.lengths),
            ref_logps=move(self.ref_logps),
        )
