"""How far a difference between two aggregators would differ with other pairs: a jackknife over prompts.

Draws of labels say nothing of the pairs, which are the same in all of them. Here a twentieth of the prompts is left
out at a time, in all languages at once, of what directions are made of and of what is scored. A bootstrap would score a
pair against its own copies.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import sem, t

from benchmarks.planted.statistics import CONFIDENCE, Estimate, auroc
from benchmarks.pretrained.detection import Evidence
from benchmarks.pretrained.evidence import ALL_LAYERS, SIGMOID
from benchmarks.pretrained.regimes import Draw, Regime, draw
from benchmarks.pretrained.scores import Inner, signed, unit

FOLDS = 20


def difference(evidence: Evidence, first: str, second: str, regime: Regime, draws: int) -> Estimate:
    """AUROC by ``first`` less that by ``second``; the interval is over draws and prompts, by Student's t."""
    languages, groups = evidence.pairs.languages, evidence.pairs.groups
    # Drawn once for all pairs: another draw for each fold would count what draws differ by many times over.
    drawn = [draw(regime, languages, seed) for seed in range(draws)]
    whole = _differences(evidence, np.arange(len(groups)), drawn, (first, second))
    names = np.random.default_rng(FOLDS).permutation(np.unique(groups))
    folds = [np.flatnonzero(~np.isin(groups, out)) for out in np.array_split(names, FOLDS)]
    means = [np.mean(_differences(evidence, rows, drawn, (first, second))) for rows in folds]
    prompts = (FOLDS - 1) * np.var(means)
    half = float(t.ppf((1 + CONFIDENCE) / 2, FOLDS - 1) * np.sqrt(prompts + sem(whole) ** 2))
    center = float(np.mean(whole))
    return Estimate(center, center - half, center + half)


def _differences(evidence: Evidence, rows: np.ndarray, drawn: Sequence[Draw], by: tuple[str, str]) -> list[float]:
    """In each draw, on some of the pairs."""
    gram, languages = unit(evidence.grams[SIGMOID, ALL_LAYERS][np.ix_(rows, rows)]), evidence.pairs.languages[rows]
    found = []
    for one in drawn:
        inner = Inner.of(signed(gram, one.signs[rows]), languages)
        first, second = (auroc(inner.by(name), one.wrong[rows]) for name in by)
        found.append(first - second)
    return found
