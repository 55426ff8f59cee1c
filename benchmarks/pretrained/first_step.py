"""What the first step of training on what is kept does to held-out pairs.

Along the mean gradient of the kept pairs, as it is, a small step makes the margin of a held-out pair grow where their
inner product says so. So accuracy after the step costs no training, and can be had in many draws of a model that would
take hours to train. It is exact for plain gradient descent on all weights that gradients are taken of; adaptive rates,
LoRA, and whatever more steps do are not in it.
"""

from collections.abc import Mapping

import numpy as np

from benchmarks.pretrained import arms
from benchmarks.pretrained.detection import Evidence
from benchmarks.pretrained.evidence import ALL_LAYERS, SIGMOID
from benchmarks.pretrained.regimes import Regime, draw
from benchmarks.pretrained.scores import Inner, signed, unit

HELD_OUT = 1 / 3
"""The share of prompts that is held out, in all languages at once."""
WRONG, ACCURACY, WORST = "wrong labels kept", "held-out accuracy", "worst language"
MEASURES = (WRONG, ACCURACY, WORST)
Outcomes = dict[str, dict[str, list[float]]]
"""By arm, each of `MEASURES` in each draw."""


def held_out(groups: np.ndarray, seed: int) -> np.ndarray:
    """Bool ``[n]``: pairs with prompts that nothing is trained on."""
    names = np.unique(groups)
    out = np.random.default_rng([seed, 6]).permutation(names)[: round(HELD_OUT * len(names))]
    held: np.ndarray = np.isin(groups, out)
    return held


def grown(towards: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Bool ``[held out]``: whether a step along what is kept makes a margin grow.

    :param towards: inner products of held-out pairs with all that can be kept, float64 ``[held out, n]``.
    """
    moved: np.ndarray = towards[:, keep].sum(1) > 0
    return moved


def outcomes(evidence: Evidence, regime: Regime, draws: int) -> Outcomes:
    """Of every arm."""
    found: Outcomes = {name: {measure: [] for measure in MEASURES} for name in arms.ARMS}
    for seed in range(draws):
        for name, measures in _outcome(evidence, regime, seed).items():
            for measure, value in measures.items():
                found[name][measure].append(value)
    return found


def _outcome(evidence: Evidence, regime: Regime, seed: int) -> Mapping[str, dict[str, float]]:
    gram, held = evidence.grams[SIGMOID, ALL_LAYERS], held_out(evidence.pairs.groups, seed)
    rows, out = np.flatnonzero(~held), np.flatnonzero(held)
    languages, there = evidence.pairs.languages[rows], evidence.pairs.languages[out]
    drawn = draw(regime, languages, seed)
    inner = Inner.of(signed(unit(gram[np.ix_(rows, rows)]), drawn.signs), languages)
    towards = gram[np.ix_(out, rows)] * drawn.signs  # labels that are held out are as they are
    found = {}
    for name, keep in arms.selections(inner, evidence.ratios[rows] * drawn.signs, drawn, seed).items():
        correct = grown(towards, keep)
        found[name] = {
            WRONG: float(drawn.wrong[keep].mean()),
            ACCURACY: float(correct.mean()),
            WORST: float(min(correct[there == tag].mean() for tag in np.unique(there))),
        }
    return found
