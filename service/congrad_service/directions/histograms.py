"""How conflict scores are distributed."""

import numpy as np
from congrad.contract import wire

BINS = 200
WIDTH = 2 / BINS

# Scores are kept in float32, and rounding keeps their order: one that was at an edge is still at it in float32.
_EDGES = np.round(np.linspace(-1, 1, BINS + 1), 2).astype(np.float32)


def histogram(scores: np.ndarray) -> wire.LanguageScores:
    """Counts, mean and bins of the conflict scores of one language, float32 ``[n]``.

    A score at an edge is in the bin below it: a threshold there keeps it.
    """
    bins = np.searchsorted(_EDGES[1:-1], scores)
    mean = float(scores.mean(dtype=np.float64)) if len(scores) else None
    return wire.LanguageScores(count=len(scores), mean=mean, histogram=np.bincount(bins, minlength=BINS).tolist())
