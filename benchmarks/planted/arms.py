"""Which pairs each arm trains on."""

from dataclasses import dataclass

import numpy as np
from congrad.contract import wire
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.aggregation.surgery import mean
from congrad_worker.decisions.direction import Samples
from congrad_worker.decisions.selection import lowest

from benchmarks.planted.scoring import ask, conflict, kept, own_language_conflict, rules

ALL, RANDOM, ORACLE = "all", "random", "oracle"
THRESHOLD, FRACTION = "CONGRAD, threshold", "CONGRAD, fraction"
LENGTH, MARGIN, LOSS = "length", "reward margin", "loss"
OWN_LANGUAGE, NO_SURGERY = "own-language cosine", "mean cosine, no surgery"
THRESHOLD_AT = wire.ThresholdSelection().max_conflict
CHEAP = (RANDOM, LENGTH, MARGIN, LOSS)
"""Baselines that need no gradients."""


@dataclass(frozen=True)
class Evidence:
    """What the arms may look at: for n pairs, and for the oracle alone the truth.

    ``logps`` is float64 ``[n, 2]``: log π of chosen and rejected under the start model, in nats; ``conflicts`` is bool
    ``[n]``.
    """

    samples: Samples
    pairs: list[EncodedPair]
    logps: np.ndarray
    conflicts: np.ndarray


def scores(evidence: Evidence) -> dict[str, np.ndarray]:
    """By arm, what is high where a pair should go: float64 ``[n]`` each."""
    chosen = np.array([len(pair.chosen_ids) for pair in evidence.pairs])
    rejected = np.array([len(pair.rejected_ids) for pair in evidence.pairs])
    return {
        LENGTH: (chosen + rejected).astype(float),
        MARGIN: evidence.logps[:, 1] - evidence.logps[:, 0],
        LOSS: -evidence.logps[:, 0] / chosen,
        OWN_LANGUAGE: own_language_conflict(evidence.samples),
        NO_SURGERY: conflict(ask(evidence.samples, rules(mean))),
        THRESHOLD: conflict(ask(evidence.samples, rules())),
    }


def selections(evidence: Evidence, found: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """By arm, which pairs it keeps: bool ``[n]``. All but the first and the last keep as many as the threshold, up to
    the rounding of fractions."""
    threshold = kept(ask(evidence.samples, rules()))
    share = float(threshold.mean())
    draw = np.random.default_rng([seed, 2]).random(len(threshold))
    ranked = {name: lowest(values, share) for name, values in found.items() if name != THRESHOLD}
    fraction = wire.FractionSelection(keep=share)
    return {
        ALL: np.ones_like(threshold),
        RANDOM: lowest(draw, share),
        **ranked,
        FRACTION: kept(ask(evidence.samples, rules(), fraction)),
        THRESHOLD: threshold,
        ORACLE: ~evidence.conflicts,
    }
