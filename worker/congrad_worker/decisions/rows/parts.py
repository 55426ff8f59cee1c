"""Gradients of one request that are not in memory all at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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

    def blocks(self, most: int) -> Iterator[tuple[slice, np.ndarray]]:
        """See `Samples.blocks`; none has rows of two parts, so that nothing is copied."""
        first = 0
        for part in self.parts:
            units = part.read()
            for start in range(0, part.rows, most):
                end = min(start + most, part.rows)
                yield slice(first + start, first + end), units[start:end]
            first += part.rows

    def halves(self, rows: np.ndarray) -> np.ndarray:
        """See `Samples.halves`; reads all parts."""
        halves: np.ndarray = np.concatenate([part.read() for part in self.parts])[rows]
        return halves


def _parts_of(samples: Samples) -> Sequence[Part]:
    if isinstance(samples, PartedSamples):
        return samples.parts
    return [Part(len(samples.norms), lambda: samples.units)]
