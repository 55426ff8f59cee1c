"""How well scores find conflicts, and what differences over seeds are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu, sem, t, ttest_rel

CONFIDENCE = 0.95


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of (true, false) couples of which the true one scores higher; ties count half."""
    statistic = mannwhitneyu(scores[truth], scores[~truth]).statistic
    return float(statistic) / (int(truth.sum()) * int((~truth).sum()))


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """The precision at each true one, from the highest score down, averaged; equal scores are taken together."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last of each run of equal scores
    found = hits[ends]
    return float(np.sum(np.diff(found, prepend=0) * found / (ends + 1)) / hits[-1])


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its confidence interval, and for differences the p of a two-sided test against zero."""

    mean: float
    low: float
    high: float
    p: float | None = None


def estimate(values: Sequence[float]) -> Estimate:
    """By Student's t."""
    center, error = float(np.mean(values)), float(sem(values))
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return Estimate(center, center - half, center + half)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Of ``first - second``, seed by seed, with the paired t test; p is None where no seed differs from another."""
    differences = np.subtract(first, second)
    if np.ptp(differences) == 0:
        return Estimate(float(differences[0]), float(differences[0]), float(differences[0]))
    test = ttest_rel(first, second)
    interval = test.confidence_interval(CONFIDENCE)
    return Estimate(float(differences.mean()), float(interval.low), float(interval.high), float(test.pvalue))


def gap_closed(start: Sequence[float], arm: Sequence[float], end: Sequence[float]) -> Estimate:
    """The share of the way from ``start`` to ``end`` that ``arm`` goes, of the means over seeds; the interval is a
    bootstrap's over seeds."""

    def share(start: np.ndarray, arm: np.ndarray, end: np.ndarray, axis: int = -1) -> np.ndarray:
        ratio: np.ndarray = (arm.mean(axis) - start.mean(axis)) / (end.mean(axis) - start.mean(axis))
        return ratio

    data = (np.asarray(start), np.asarray(arm), np.asarray(end))
    found = bootstrap(
        data, share, paired=True, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    )
    interval = found.confidence_interval
    return Estimate(float(share(*data)), float(interval.low), float(interval.high))
