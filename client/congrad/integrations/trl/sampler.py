"""Which rows a trainer draws, where that changes on the way. Knows no trainer and no service."""

from collections.abc import Iterator, Sequence
from random import Random


class KeptRows:
    """A sampler of the rows that are kept, in an order of each epoch's own.

    An epoch has as many rows as were kept at first, whatever becomes of that: the trainer has made its schedule of
    learning rates of them. Where fewer are kept by now, some of them are drawn once more; where more are, as many are
    left out. What is dropped in the middle of an epoch is not drawn from then on.

    :param keep: of each row.
    :param seed: the same one in all processes.
    """

    def __init__(self, keep: Sequence[bool], seed: int):
        self._seed = seed
        self._epoch = 0
        self.replace(keep)
        self._length = sum(keep)

    def replace(self, keep: Sequence[bool]) -> None:
        """Draws others from now on.

        :raises ValueError: none is kept.
        """
        if not any(keep):
            raise ValueError("no row is kept, and there is nothing to train on")
        self._keep = keep

    def set_epoch(self, epoch: int) -> None:
        """The one that comes next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        order = Random(f"{self._seed} {self._epoch}")  # noqa: S311 # no secret
        left = self._length
        while left:
            rows = list(range(len(self._keep)))
            order.shuffle(rows)
            for row in rows:
                if self._keep[row]:  # as it is by now
                    yield row
                    left -= 1
                if not left:
                    return
