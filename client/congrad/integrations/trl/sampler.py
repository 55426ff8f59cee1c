"""Which rows a trainer draws, where that changes on the way. Knows no trainer and no service."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Drawn:
    """How an epoch was drawn: which rows were kept from which draw on."""

    epoch: int
    changes: Sequence[tuple[int, Sequence[bool]]]


class KeptRows:
    """A sampler of the rows that are kept, in an order of each epoch's own.

    An epoch has as many rows as were kept at first, whatever becomes of that: the trainer has made its schedule of
    learning rates of them. Where fewer are kept by now, some of them are drawn once more; where more are, as many are
    left out. What is dropped in the middle of an epoch is not drawn from then on.

    :param keep: of each row.
    :param seed: the same one in all processes.
    :param length: of an epoch, where it was begun before.
    :param drawn: how an epoch was drawn that is gone on with: it is drawn like that again.
    """

    def __init__(self, keep: Sequence[bool], seed: int, length: int | None = None, drawn: Drawn | None = None):
        self._seed = seed
        self._epoch = 0
        self._count = 0
        self._changes: list[tuple[int, Sequence[bool]]] = []
        self.replace(keep)
        self._length = sum(keep) if length is None else length
        self._again = drawn

    def replace(self, keep: Sequence[bool]) -> None:
        """Draws others from now on.

        :raises ValueError: none is kept.
        """
        if not any(keep):
            raise ValueError("no row is kept, and there is nothing to train on")
        self._changes.append((self._count, keep))

    @property
    def drawn(self) -> Drawn:
        """The epoch, up to now."""
        return Drawn(self._epoch, list(self._changes))

    def set_epoch(self, epoch: int) -> None:
        """The one that comes next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        order = Random(f"{self._seed} {self._epoch}")  # noqa: S311 # no secret
        self._count = 0
        if self._again is not None and self._again.epoch == self._epoch:
            self._changes = list(self._again.changes)
        else:
            self._changes = [(0, self._changes[-1][1])]
        self._again = None
        while self._count < self._length:
            rows = list(range(len(self._changes[0][1])))
            order.shuffle(rows)
            for row in rows:
                if self._kept_now[row]:
                    self._count += 1
                    yield row
                if self._count == self._length:
                    return

    @property
    def _kept_now(self) -> Sequence[bool]:
        """What is kept at this draw. Later changes are there where an epoch is drawn again."""
        return next(keep for at, keep in reversed(self._changes) if at <= self._count)
