"""Ranks that do not follow the length of answers."""

from collections.abc import Sequence
from itertools import pairwise

FEWEST = 10
"""Pairs that are ranked against each other: of fewer, a rank says little."""

MOST_STRATA = 20
"""Of a language. Five take away nine tenths of what follows the quantity that they are made by (Cochran 1968)."""


def ranks_by_length(scores: Sequence[float], ratios: Sequence[float | None]) -> list[int]:
    """The place of each score, 0 for the lowest, where it is compared with those of pairs of like length ratio only.

    The pairs are cut into strata by their ratio, as many as leave ten pairs to each, and at most 20; those without a
    ratio are one more. A pair comes before another if a smaller part of its stratum lies below it, and among equals if
    its own score is lower. So any share of the lowest is that share of each stratum, to within a pair.
    """
    parts: list[float] = [0.0] * len(scores)
    for stratum in _strata(ratios):
        for rank, position in enumerate(sorted(stratum, key=lambda i: scores[i])):
            parts[position] = (rank + 0.5) / len(stratum)
    places = [0] * len(scores)
    for place, position in enumerate(sorted(range(len(scores)), key=lambda i: (parts[i], scores[i]))):
        places[position] = place
    return places


def _strata(ratios: Sequence[float | None]) -> list[list[int]]:
    """Positions, in parts whose sizes differ by one at most."""
    given = {position: ratio for position, ratio in enumerate(ratios) if ratio is not None}
    order = sorted(given, key=given.__getitem__)
    number = max(1, min(MOST_STRATA, len(order) // FEWEST))
    size, longer = divmod(len(order), number)
    edges = [part * size + min(part, longer) for part in range(number + 1)]
    cut = [order[start:end] for start, end in pairwise(edges)]
    return [*cut, [position for position, ratio in enumerate(ratios) if ratio is None]]
