"""Which pairs each arm trains on."""

import numpy as np
from congrad_worker.decisions.selection import lowest

from benchmarks.pretrained.regimes import Draw
from benchmarks.pretrained.scores import OWN, Inner

ALL, RANDOM, LENGTH, MIDDLE, ORACLE = "all", "random", "length", "middle of the scores", "oracle"
THRESHOLDS = ("mean", "pcgrad", "agreement")
"""Each keeps what its own scores say, at the default threshold."""
MAIN = "agreement"
"""Others keep as many as it does."""
ARMS = (ALL, RANDOM, LENGTH, OWN, MIDDLE, *THRESHOLDS, ORACLE)


def selections(inner: Inner, ratios: np.ndarray, drawn: Draw, seed: int) -> dict[str, np.ndarray]:
    """By arm which pairs are kept: bool ``[n]``.

    The middle is that of the scores by `MAIN`: of medium influence, which arXiv 2510.13212 finds best.

    :param inner: of the gradients with the labels as drawn.
    :param ratios: ln |chosen| − ln |rejected| with the labels as drawn, float64 ``[n]``.
    """
    kept = {name: inner.by(name) <= 0 for name in THRESHOLDS}
    share = float(kept[MAIN].mean())
    conflict = inner.by(MAIN)
    random = np.random.default_rng([seed, 7]).random(len(ratios))
    return {
        ALL: np.ones(len(ratios), dtype=np.bool_),
        RANDOM: lowest(random, share),
        LENGTH: lowest(-ratios, share),
        OWN: lowest(inner.by(OWN), share),
        MIDDLE: lowest(np.abs(conflict - np.median(conflict)), share),
        **kept,
        ORACLE: ~drawn.wrong,
    }
