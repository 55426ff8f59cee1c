"""Gradients of one request that are not in memory all at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from congrad_worker.decisions.direction import Samples


@dataclass(frozen=True)
class Part:
    """Some neighbouring rows: how many, and what reads them, ``[rows, D]``."""

    rows: int
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class PartedSamples(Samples):
    """The gradients of a request that lie in parts, each of which is read when rows of it are asked for; ``units`` has
    no rows here.

    What is decided does not depend on where the parts end: rows are asked for in the same blocks.
    """

    parts: Sequence[Part] = ()

    @classmethod
    def joined(cls, several: Sequence[Samples]) -> "PartedSamples":
        """One after the other, and not copied; there is at least one."""
        return cls(
            units=np.zeros((0, several[0].dim), np.float16),
            norms=np.concatenate([samples.norms for samples in several]),
            languages=[language for samples in several for language in samples.languages],
            parts=[part for samples in several for part in _parts_of(samples)],
        )

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([part.rows for part in self.parts])

    def halves(self, rows: np.ndarray) -> np.ndarray:
        """See `Samples.halves`; of some rows in ascending order, or of one."""
        if np.ndim(rows) == 0:
            number = int(np.searchsorted(self._ends, rows, side="right"))
            row: np.ndarray = self.parts[number].read()[rows - self._ends[number]]  # from its end
            return row
        found: np.ndarray | None = None
        start = 0
        ends = zip(self._ends.tolist(), np.searchsorted(rows, self._ends).tolist(), strict=True)
        for part, (end, border) in zip(self.parts, ends, strict=True):
            if border == start:
                continue
            own = part.read()
            found = np.empty((len(rows), self.dim), own.dtype) if found is None else found
            np.take(own, rows[start:border] - (end - part.rows), axis=0, out=found[start:border], mode="clip")
            start = border
        return self.units if found is None else found


def _parts_of(samples: Samples) -> Sequence[Part]:
    if isinstance(samples, PartedSamples):
        return samples.parts
    return [Part(len(samples.norms), lambda: samples.units)]
