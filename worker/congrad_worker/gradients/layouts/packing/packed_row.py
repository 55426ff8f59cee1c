"""All pairs of a batch in one row, each ``trunk | chosen | rejected``, without any padding."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.batch import Batch, Predicting, Targets
from congrad_worker.gradients.layouts.costs import Costs
from congrad_worker.gradients.layouts.extents import Extents
from congrad_worker.gradients.layouts.grouping import unpadded_batches
from congrad_worker.gradients.layouts.layout import summed_products
from congrad_worker.gradients.layouts.packing.packed_attention import pairs_apart
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW, SharedRow


class PackedRow(SharedRow):
    """One row a batch, in models whose masks, positions and attention can be told from outside."""

    name = "a packed row"

    def suits(self, pair: EncodedPair) -> bool:  # noqa: ARG002 # nothing is computed twice, and nothing is padding
        return True

    def batch_tokens(self, pairs: Sequence[EncodedPair]) -> int:
        return sum(map(self.tokens, pairs))

    def groups(self, sizes: Mapping[int, int], budget: int, costs: Costs) -> list[list[int]]:  # noqa: ARG002 # few
        return unpadded_batches(sizes, budget)

    def apart(self, batch: Batch) -> AbstractContextManager[None]:
        return pairs_apart(batch)

    def lay(self, pairs: Sequence[EncodedPair]) -> tuple[list[list[int]], list[int]]:
        row: list[int] = []
        starts = []
        for pair in pairs:
            starts.append(len(row))
            row += self.rows(pair)[0]
        return [row], starts

    def structure(self, pairs: Sequence[EncodedPair], tokens: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Positions begin anew with each pair, and branches are numbered on: int64 ``[1, tokens]`` each."""
        of_pairs = [SHARED_ROW.structure([pair], self.tokens(pair)) for pair in pairs]
        positions = torch.cat([positions for positions, _ in of_pairs], 1)
        return positions, torch.cat([branches + 3 * number for number, (_, branches) in enumerate(of_pairs)], 1)

    def predicting(self, targets: Targets, extents: Extents) -> Predicting | None:
        tokens = targets.sources.unique()
        *starts, end = torch.searchsorted(tokens, torch.tensor([*extents.starts, extents.shape[1]])).tolist()
        sizes = [after - before for before, after in zip(starts, [*starts[1:], end], strict=True)]
        if not all(sizes):  # of no tokens, there is no last one to stand again, see `by_pair`
            return None
        return Predicting(tokens, Extents((1, end), tuple(starts), tuple(sizes)))

    def products(self, deltas: Tensor, activations: Tensor, extents: Extents) -> Tensor:
        if deltas.device.type != "cpu":
            return summed_products(*by_pair(deltas, activations, extents))
        found = deltas.new_empty(
            len(deltas), extents.pairs, deltas.shape[-1], activations.shape[-1], dtype=torch.float32
        )
        parts = [_by_token(side, extents).split(extents.sizes, dim=1) for side in (deltas, activations)]
        for pair, (of_deltas, of_activations) in enumerate(zip(*parts, strict=True)):
            for products, delta, activation in zip(found, of_deltas, of_activations, strict=True):
                torch.mm(delta.flatten(0, 1).T.float(), activation.flatten(0, 1).float(), out=products[pair])
        return found


def by_pair(deltas: Tensor, activations: Tensor, extents: Extents) -> tuple[Tensor, Tensor]:
    """``[modules, 1, tokens, k]`` to ``[modules, pairs, longest, k]`` each: one product of matrices for all pairs,
    where a loop would launch one for each.

    Where a pair is shorter its last token stands again, with a zero for its output gradient: beside the tokens of
    another pair, a zero would not keep out what is not finite.
    """
    index, is_own = extents.padded_index(deltas.device)
    left, right = (_by_token(v, extents)[:, index] for v in (deltas, activations))
    return (left * is_own[..., None, None]).flatten(2, 3), right.flatten(2, 3)


def _by_token(side: Tensor, extents: Extents) -> Tensor:
    """``[modules, 1, n, k]`` to ``[modules, tokens, each, k]``: routed experts have each token several times."""
    return side.reshape(len(side), extents.shape[1], -1, side.shape[-1])


PACKED_ROW = PackedRow()
