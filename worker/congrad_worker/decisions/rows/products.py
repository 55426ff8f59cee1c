r"""Inner products of samples with the languages of a direction: all of their gradients that a score is made of.

Whatever the aggregator, and whichever languages are heard, the direction is a combination of the same sums S,

.. math:: \\langle g_i, d\\rangle = \\sum_m (w_m/W_m)\\,\\langle g_i, S_m\\rangle

so that once these are known, another question about the same version of a direction needs no gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from congrad_worker.decisions.consensus import Consensus
from congrad_worker.decisions.direction import LanguageState, Samples
from congrad_worker.decisions.halves import Widened

MOST = 32
"""Languages of a direction; with more, double precision for all of them costs more than it saves."""

MOST_NUMBERS = 2**23
"""Of all their sums together: 64 MiB in double precision."""

Proceed = Callable[[], None]
"""Raises where there is no use in going on."""


def nothing() -> None:
    """Goes on in any case."""


@dataclass(frozen=True)
class Products:
    """Of n samples with unit gradients u_i: ``dots`` ⟨u_i, S_m⟩, float64 ``[n, L]``, of all languages of a direction,
    whose ``tags`` are sorted; and ``squares`` ‖u_i‖², float64 ``[n]``, which half precision leaves near 1."""

    tags: list[str]
    dots: np.ndarray
    squares: np.ndarray

    def with_direction(self, direction: Consensus) -> tuple[np.ndarray, np.ndarray]:
        """⟨u_i, d⟩, float64 ``[n]``, and whether ⟨u_i, S_m⟩ < 0 for its languages, bool ``[n, L]``.

        :param direction: of these languages, or some of them.
        """
        dots = self.dots[:, [self.tags.index(tag) for tag in direction.tags]]
        amounts = np.array([direction.languages[tag].weight for tag in direction.tags])
        return dots @ (direction.weights / amounts), dots < 0


def are_worth_it(languages: Mapping[str, LanguageState], dim: int) -> bool:
    """Whether all of them are taken in double precision."""
    return 0 < len(languages) <= MOST and len(languages) * dim <= MOST_NUMBERS


def products(samples: Samples, languages: Mapping[str, LanguageState], proceed: Proceed = nothing) -> Products:
    """Those of samples with some languages.

    :param proceed: called between blocks of samples; what it raises ends it.
    """
    tags = sorted(languages)
    sums = np.stack([languages[tag].total for tag in tags]).astype(np.float64).T  # [D, L]
    dots, squares = np.zeros((len(samples.norms), len(tags))), np.zeros(len(samples.norms))
    widened = Widened(samples.dim)
    for rows, block in samples.blocks(widened.rows):
        proceed()
        doubles = widened.doubles(widened.singles(block))
        np.matmul(doubles, sums, out=dots[rows])
        squares[rows] = np.vecdot(doubles, doubles)
    return Products(tags, dots, squares)
