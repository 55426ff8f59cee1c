"""The cosines between the languages of a direction, as Redis holds them and as they are shown."""

from collections.abc import Sequence

import numpy as np

DIGITS = 6

Cosines = list[list[float]]


def cosines_of(held: bytes, count: int) -> tuple[Cosines, Cosines]:
    """Those of ``count`` languages before surgery and after it.

    :param held: float32 ``[2, count, count]``.
    """
    both = np.frombuffer(held, dtype="<f4").reshape(2, count, count).astype(np.float64)
    before, after = np.round(both, DIGITS).tolist()
    return before, after


def held_cosines(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> bytes:
    """The inverse of `cosines_of`."""
    return np.array([before, after], dtype="<f4").tobytes()
