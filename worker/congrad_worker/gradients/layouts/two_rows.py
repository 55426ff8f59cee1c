"""A pair as two rows, ``prompt | chosen`` and ``prompt | rejected``: exact in every causal model."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.costs import Costs
from congrad_worker.gradients.layouts.layout import Layout


class TwoRows(Layout):
    """Two rows a pair, which need neither a mask nor positions: no token sees the padding behind it."""

    name = "two rows"

    def suits(self, pair: EncodedPair) -> bool:  # noqa: ARG002 # it is what others are compared with
        return True

    def rows(self, pair: EncodedPair) -> list[list[int]]:
        return [pair.prompt_ids + completion for completion in (pair.chosen_ids, pair.rejected_ids)]

    def tokens(self, pair: EncodedPair) -> int:
        return 2 * pair.length

    def cost(self, pair: EncodedPair, costs: Costs) -> int:  # noqa: ARG002 # attention is one call for all rows
        return self.tokens(pair)

    def place(self, pair: EncodedPair, side: int, tokens: Tensor) -> tuple[int, Tensor]:  # noqa: ARG002 # in any pair
        return side, tokens

    def apart(self, batch: Batch) -> AbstractContextManager[None]:  # noqa: ARG002 # in any batch
        return nullcontext()

    def structure(self, pairs: Sequence[EncodedPair], tokens: int) -> tuple[None, None]:  # noqa: ARG002 # in any batch
        return None, None


TWO_ROWS = TwoRows()
