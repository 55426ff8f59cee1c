"""What a layout is: everything that depends on how the tokens of a pair lie in the rows of a batch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import product

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.batch import Batch, Predicting, Targets
from congrad_worker.gradients.layouts.costs import Costs
from congrad_worker.gradients.layouts.extents import Extents
from congrad_worker.gradients.layouts.grouping import micro_batches

MIXED_PRODUCTS = ("cuda", "meta")
"""Devices that multiply in half precision to float32."""


class Layout(ABC):
    """A way to lay pairs into rows. It has no state: there is one of each kind."""

    name: str
    """For a person."""

    @abstractmethod
    def suits(self, pair: EncodedPair) -> bool:
        """Whether it is no dearer for this pair than two plain rows."""

    @abstractmethod
    def rows(self, pair: EncodedPair) -> list[list[int]]:
        """The rows of one pair, as token ids without padding; as many for each pair."""

    @abstractmethod
    def place(self, pair: EncodedPair, side: int, tokens: Tensor) -> tuple[int, Tensor]:
        """Which of the pair's rows holds some tokens of a sequence, and in which columns.

        :param side: of the sequence, 0 for prompt and chosen, 1 for prompt and rejected.
        :param tokens: positions in the sequence, int64 ``[n]``.
        """

    @abstractmethod
    def apart(self, batch: Batch) -> AbstractContextManager[None]:
        """Keeps sequences that share a row from seeing each other, in every model that runs inside the block, its
        backward pass included."""

    @abstractmethod
    def structure(self, pairs: Sequence[EncodedPair], tokens: int) -> tuple[Tensor | None, Tensor | None]:
        """Position ids and branches of rows with so many tokens; see `Batch`."""

    def tokens(self, pair: EncodedPair) -> int:
        """Tokens that a pair takes up in a batch where it is the longest."""
        rows = self.rows(pair)
        return len(rows) * max(map(len, rows))

    def batch_tokens(self, pairs: Sequence[EncodedPair]) -> int:
        """Tokens of a batch of some pairs, padding included."""
        return len(pairs) * max(map(self.tokens, pairs))

    def cost(self, pair: EncodedPair, costs: Costs) -> int:
        """What a pair costs in a batch of its like, in tokens; ``costs`` are those of parts of a row too."""
        segments = bool(pair.spans.trunk + pair.spans.chosen) + bool(pair.spans.rejected)
        return self.tokens(pair) + segments * costs.segment

    def groups(self, sizes: Mapping[int, int], budget: int, costs: Costs) -> list[list[int]]:
        """The keys of ``sizes``, which are `tokens` of pairs, in groups that are to be a batch each; see `grouping`."""
        return micro_batches(sizes, budget, costs.batch)

    def products(self, deltas: Tensor, activations: Tensor, extents: Extents) -> Tensor:
        """Σ_t δ_t a_tᵀ over the tokens of each pair, for some modules: float32 ``[modules, pairs, k_out, k_in]``.

        The rows of a pair are neighbours: seen as one row of all their tokens, their sums are one product.

        :param deltas: ``[modules, rows, tokens, k_out]``; of experts, each token as often as it is routed.
        :param activations: ``[modules, rows, tokens, k_in]``.
        """
        by_pair = [v.reshape(len(v), extents.pairs, -1, v.shape[-1]) for v in (deltas, activations)]
        return summed_products(*by_pair)

    def lay(self, pairs: Sequence[EncodedPair]) -> tuple[list[list[int]], list[int]]:
        """The rows of a batch, without padding, and where each pair begins in them once they are padded and
        flattened."""
        rows = [row for pair in pairs for row in self.rows(pair)]
        of_pair = len(rows) // len(pairs) * max(map(len, rows))
        return rows, [number * of_pair for number in range(len(pairs))]

    def batch(self, pairs: Sequence[EncodedPair], pad_id: int) -> Batch:
        """The pairs in rows of one length."""
        rows, starts = self.lay(pairs)
        tokens = max(map(len, rows))
        padded = [row + [pad_id] * (tokens - len(row)) for row in rows]
        position_ids, branches = self.structure(pairs, tokens)
        extents = Extents((len(rows), tokens), tuple(starts), tuple(map(self.tokens, pairs)))
        targets = self._targets(pairs, starts, tokens)
        given = [pair.ref_logps for pair in pairs]
        ties = [pair.is_tie for pair in pairs]
        return Batch(
            input_ids=torch.tensor(padded),
            position_ids=position_ids,
            branches=branches,
            spans=tuple(pair.spans for pair in pairs),
            extents=extents,
            targets=targets,
            predicting=self.predicting(targets, extents),
            lengths=torch.tensor([(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs]),
            ref_logps=torch.tensor([(math.nan, math.nan) if logps is None else logps for logps in given]),
            needs_reference=None in given,
            ties=torch.tensor(ties) if any(ties) else None,
        )

    def predicting(self, targets: Targets, extents: Extents) -> Predicting | None:  # noqa: ARG002 # of rows with padding
        """The tokens that predict, where it is known which pair each of them is of without those between them, and
        every pair has one."""
        return None

    def _targets(self, pairs: Sequence[EncodedPair], starts: Sequence[int], tokens: int) -> Targets:
        found = []
        for (number, pair), side in product(enumerate(pairs), range(2)):
            ids = torch.tensor((pair.chosen_ids, pair.rejected_ids)[side], dtype=torch.int64)
            prompt = len(pair.prompt_ids)
            # The token at position t predicts the one at t + 1; nothing predicts the first token of a sequence.
            offsets = torch.arange(len(ids))[0 if prompt else 1 :]
            row, columns = self.place(pair, side, offsets + prompt - 1)
            sources = starts[number] + row * tokens + columns
            found.append(torch.stack((sources, ids[offsets], torch.full_like(offsets, 2 * number + side), offsets)))
        return Targets(*torch.cat(found, dim=1))


def summed_products(deltas: Tensor, activations: Tensor) -> Tensor:
    """Σ_t δ_t a_tᵀ, added up in float32: ``[..., k_out, k_in]``.

    :param deltas: ``[..., tokens, k_out]``.
    :param activations: ``[..., tokens, k_in]``.
    """
    left, right = deltas.flatten(0, -3).mT, activations.flatten(0, -3)
    is_half = deltas.dtype == activations.dtype and deltas.dtype in (torch.bfloat16, torch.float16)
    if is_half and deltas.device.type in MIXED_PRODUCTS:
        # Products of half precision are exact in float32, and matrix units take them many times as fast.
        found = torch.bmm(left, right, out_dtype=torch.float32)
    else:
        found = torch.bmm(left.float(), right.float())
    summed: Tensor = found.unflatten(0, deltas.shape[:-2])
    return summed
