r"""What training on what is kept does to held-out pairs, as far as inner products of gradients tell.

Along the mean gradient of the kept pairs, as it is, a small step makes the margin of a held-out pair grow where their
inner product says so. So accuracy after the step costs no training, and can be had in many draws of a model that would
take hours to train. It is exact for plain gradient descent on all weights that gradients are taken of.

More steps are those of the linearised model, whose gradients stay what they are at the start (the neural tangent
kernel, arXiv 1806.07572). With margins m in nats of log-ratio, and G of their gradients as they are, DPO's step is

.. math:: m \leftarrow m + \eta \beta\, G_{\cdot K}\, \sigma(-\beta m_K) / |K|

over the kept pairs K. Adaptive rates, LoRA, and gradients that change are not in it.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from benchmarks.planted.training import BETA
from benchmarks.pretrained import arms
from benchmarks.pretrained.detection import Evidence
from benchmarks.pretrained.evidence import ALL_LAYERS, SIGMOID
from benchmarks.pretrained.regimes import Regime, draw
from benchmarks.pretrained.scores import Inner, signed, unit

HELD_OUT = 1 / 3
"""The share of prompts that is held out, in all languages at once."""
STEPS = 300
"""Of the linearised model."""
WRONG, ACCURACY, WORST = "wrong labels kept", "held-out accuracy", "worst language"
LATER, LATER_WORST = f"accuracy after {STEPS} steps", f"worst language after {STEPS}"
MEASURES = (WRONG, ACCURACY, WORST, LATER, LATER_WORST)
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


def margins(towards: np.ndarray, among: np.ndarray, rate: float) -> np.ndarray:
    """How far the linearised model's margins of held-out pairs have grown after `STEPS`, in nats: float64
    ``[held out]``.

    :param towards: inner products of held-out with kept pairs, float64 ``[held out, n]``.
    :param among: of kept pairs with each other, float64 ``[n, n]``.
    :param rate: η.
    """
    kept, pull = np.zeros(len(among)), np.zeros(len(among))
    for _ in range(STEPS):
        step = rate * BETA / len(among) * expit(-BETA * kept)
        pull += step
        kept += among @ step
    found: np.ndarray = towards @ pull
    return found


def steady_rate(among: np.ndarray) -> float:
    """The largest η with which the loss of all pairs falls in every step: 2 over its largest curvature, halved."""
    curvature = BETA**2 / 4 * float(np.linalg.eigvalsh(among)[-1]) / len(among)
    return 1 / curvature


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
    among = signed(gram[np.ix_(rows, rows)], drawn.signs)
    inner, rate = Inner.of(unit(among), languages), steady_rate(among)
    towards = gram[np.ix_(out, rows)] * drawn.signs  # labels that are held out are as they are
    found = {}
    for name, keep in arms.selections(inner, evidence.ratios[rows] * drawn.signs, drawn, seed).items():
        first, later = grown(towards, keep), margins(towards[:, keep], among[np.ix_(keep, keep)], rate) > 0
        found[name] = {
            WRONG: float(drawn.wrong[keep].mean()),
            ACCURACY: float(first.mean()),
            WORST: _worst(first, there),
            LATER: float(later.mean()),
            LATER_WORST: _worst(later, there),
        }
    return found


def _worst(correct: np.ndarray, languages: np.ndarray) -> float:
    return float(min(correct[languages == tag].mean() for tag in np.unique(languages)))
