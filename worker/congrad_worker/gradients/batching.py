"""Micro-batches: pairs of like length together, within a budget of tokens.

A pair is one row ``trunk | chosen | rejected`` where its model can keep the two branches apart, so that what the two
sequences begin with is computed once; otherwise it is two rows, ``prompt | chosen`` and ``prompt | rejected``.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from congrad_worker.checkpoints.encoding import EncodedPair, common_prefix

PADDING_BRANCH = 3
"""Padding is a branch of its own, which no token sees."""

BATCH_COST = 200
"""What a batch costs beside its tokens, in tokens: where padding wastes more, two batches are cheaper than one."""


@dataclass(frozen=True)
class Spans:
    """The lengths of the parts of one row that holds a whole pair, in tokens."""

    trunk: int
    chosen: int
    rejected: int

    @classmethod
    def of(cls, pair: EncodedPair) -> "Spans":
        """The trunk is the prompt and what both completions begin with."""
        shared = common_prefix(pair.chosen_ids, pair.rejected_ids)
        return cls(len(pair.prompt_ids) + shared, len(pair.chosen_ids) - shared, len(pair.rejected_ids) - shared)

    @property
    def total(self) -> int:
        """Tokens of the row."""
        return self.trunk + self.chosen + self.rejected

    @property
    def longest(self) -> int:
        """Tokens of the longer of the two sequences."""
        return self.trunk + max(self.chosen, self.rejected)


@dataclass(frozen=True)
class Batch:
    """The rows of some pairs, one or two for each, in order. Padding stands at the end of a row.

    Two rows need neither mask nor positions: under a causal mask no token sees the padding behind it.
    """

    input_ids: Tensor  # int64 [rows, tokens]
    position_ids: Tensor | None  # int64 [rows, tokens]; None for two rows a pair
    branches: Tensor | None  # int64 [rows, tokens]: 0 trunk, 1 chosen, 2 rejected, 3 padding; None for two rows
    spans: tuple[Spans, ...]  # of each pair
    sources: Tensor  # int64 [targets]: where in the flattened rows each target is predicted
    targets: Tensor  # int64 [targets]: the tokens of the completions
    completions: Tensor  # int64 [targets]: the completion of each, 2 * pair + side; side 0 is chosen
    offsets: Tensor  # int64 [targets]: the position of each in its completion
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

        return Batch(
            move(self.input_ids),
            None if self.position_ids is None else move(self.position_ids),
            None if self.branches is None else move(self.branches),
            self.spans,
            move(self.sources),
            move(self.targets),
            move(self.completions),
            move(self.offsets),
            move(self.lengths),
            move(self.ref_logps),
            self.needs_reference,
        )


def is_worth_sharing(pair: EncodedPair) -> bool:
    """Whether one row is cheaper than two: the rejected branch attends to the trunk, whose tokens are then saved."""
    spans = Spans.of(pair)
    return 4 * spans.trunk >= min(spans.chosen, spans.rejected)


def padded_tokens(pair: EncodedPair, shared: bool) -> int:
    """Tokens that a pair takes up in a batch where it is the longest."""
    return Spans.of(pair).total if shared else 2 * pair.length


def micro_batches(pairs: Sequence[EncodedPair], positions: Sequence[int], shared: bool, budget: int) -> list[list[int]]:
    """``positions`` of ``pairs`` in groups of at most ``budget`` padded tokens, the longest first.

    Of all ways to cut the sorted pairs into groups it is the one with the fewest padded tokens, each group counted with
    `BATCH_COST` on top. A pair that is over the budget makes a group of its own.
    """
    sizes = {i: padded_tokens(pairs[i], shared) for i in positions}
    ordered = sorted(positions, key=lambda i: -sizes[i])
    costs = [0] + [sys.maxsize] * len(ordered)  # of the first n pairs, cut at best
    starts = [0] * len(costs)  # of their last group
    for start, position in enumerate(ordered):
        longest = sizes[position]  # sets the padded length of the group that starts here
        most = max(budget // longest, 1)
        for end in range(start + 1, min(start + most, len(ordered)) + 1):
            cost = costs[start] + (end - start) * longest + BATCH_COST
            if cost < costs[end]:
                costs[end], starts[end] = cost, start
    groups: list[list[int]] = []
    end = len(ordered)
    while end:
        groups.append(ordered[starts[end] : end])
        end = starts[end]
    return groups[::-1]


def collate(pairs: Sequence[EncodedPair], shared: bool, pad_id: int) -> Batch:
    """Pads the rows of ``pairs`` to one length."""
    spans = tuple(Spans.of(pair) for pair in pairs)
    rows = [_shared_row(pair, s) for pair, s in zip(pairs, spans, strict=True)] if shared else _two_rows(pairs)
    tokens = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), tokens), pad_id)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = torch.tensor(row)
    targets = [
        torch.stack((sources + (i if shared else 2 * i + side) * tokens, ids, torch.full_like(ids, 2 * i + side), at))
        for i, pair in enumerate(pairs)
        for side, (sources, ids, at) in enumerate(_targets(pair, spans[i] if shared else None))
    ]
    lengths = torch.tensor([(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs])
    positions, branches = _layout(spans, tokens) if shared else (None, None)
    sources, ids, completions, offsets = torch.cat(targets, dim=1)
    given = [pair.ref_logps for pair in pairs]
    ref_logps = torch.tensor([(math.nan, math.nan) if logps is None else logps for logps in given])
    return Batch(
        input_ids, positions, branches, spans, sources, ids, completions, offsets, lengths, ref_logps, None in given
    )


def _two_rows(pairs: Sequence[EncodedPair]) -> list[list[int]]:
    return [pair.prompt_ids + completion for pair in pairs for completion in (pair.chosen_ids, pair.rejected_ids)]


def _shared_row(pair: EncodedPair, spans: Spans) -> list[int]:
    chosen = pair.prompt_ids + pair.chosen_ids
    return chosen + pair.rejected_ids[len(pair.rejected_ids) - spans.rejected :]


def _targets(pair: EncodedPair, spans: Spans | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each side: where in the pair's row the completion's tokens are predicted, the tokens, and their offsets.

    The token at position t predicts the one at t + 1; nothing predicts the first token of a sequence.
    """
    prompt = len(pair.prompt_ids)
    for side, ids in enumerate((pair.chosen_ids, pair.rejected_ids)):
        offsets = torch.arange(0 if prompt else 1, max(len(ids), 0 if prompt else 1))
        sources = offsets + prompt - 1
        if spans is not None and side == 1:
            # The chosen branch stands between the trunk and the rejected branch.
            sources = torch.where(sources < spans.trunk, sources, sources + spans.chosen)
        yield sources, torch.tensor(ids, dtype=torch.int64)[offsets], offsets


def _layout(spans: Sequence[Spans], tokens: int) -> tuple[Tensor, Tensor]:
    """Positions and branches of rows that hold whole pairs: int64 [pairs, tokens] each."""
    positions = torch.zeros(len(spans), tokens, dtype=torch.int64)
    branches = torch.full((len(spans), tokens), PADDING_BRANCH)
    for row, s in enumerate(spans):
        first = s.trunk + s.chosen
        positions[row, :first] = torch.arange(first)
        positions[row, first : s.total] = torch.arange(s.trunk, s.trunk + s.rejected)
        branches[row, : s.total] = torch.arange(3).repeat_interleave(torch.tensor([s.trunk, s.chosen, s.rejected]))
    return positions, branches
