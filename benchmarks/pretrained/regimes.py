"""Which labels are wrong, and whose: the worlds that scores are compared in."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Regime:
    """In ``languages`` of them, drawn at random, a share ``there`` of the labels is swapped, and ``elsewhere`` in the
    others. ``is_right``: what is swapped there as one, all labels of these languages, is what they rightly want."""

    name: str
    languages: int
    there: float
    elsewhere: float


REGIMES = (
    Regime("20 % in all", 0, 0, 0.2),
    Regime("40 % in all", 0, 0, 0.4),
    Regime("80 % in one", 1, 0.8, 0.1),
    Regime("80 % in two", 2, 0.8, 0.1),
    Regime("50 % in three", 3, 0.5, 0.1),
    Regime("80 % in three", 3, 0.8, 0.1),
    Regime("100 % in three", 3, 1, 0.1),
)
"""Noise: what is swapped should go."""

EVERYWHERE, THREE = REGIMES[0], REGIMES[5]
NOISE = 0.1
"""The share of labels that is wrong where a minority wants something else."""


@dataclass(frozen=True)
class Draw:
    """``wrong``, bool ``[n]``: whose label is swapped; ``chosen``, bool ``[n]``: who is in the languages drawn."""

    wrong: np.ndarray
    chosen: np.ndarray

    @property
    def signs(self) -> np.ndarray:
        """Of the gradients: float64 ``[n]``."""
        return np.where(self.wrong, -1.0, 1.0)


def draw(regime: Regime, languages: np.ndarray, seed: int) -> Draw:
    """One draw; exactly the share of each language, to the nearest pair."""
    random = np.random.default_rng([seed, 5])
    tags = np.unique(languages)
    chosen = random.choice(tags, regime.languages, replace=False)
    wrong = np.zeros(len(languages), dtype=np.bool_)
    for tag in tags:
        rows = np.flatnonzero(languages == tag)
        share = regime.there if tag in chosen else regime.elsewhere
        wrong[random.permutation(rows)[: round(share * len(rows))]] = True
    return Draw(wrong, np.isin(languages, chosen))
