"""A minority that is right: some languages rightly want the opposite, and what a filter makes of that.

Two ones. In the first all labels of the minority are turned round: nothing is known of the criterion but that theirs is
the opposite one. In the second the criterion is one that people have: the majority prefers the longer answer, the
minority the shorter one, whatever the labels of the file say.

What the kept pairs teach is read off to first order: a step along the mean gradient of what is kept makes the margin of
a held-out pair grow where their inner product says so.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.pretrained.detection import Evidence
from benchmarks.pretrained.evidence import ALL_LAYERS, SIGMOID
from benchmarks.pretrained.first_step import grown, held_out
from benchmarks.pretrained.regimes import NOISE, Regime, draw
from benchmarks.pretrained.scores import Inner, signed, unit

SIZES = (2, 3, 4)
"""Languages of the minority; 4 of 8 is none."""
BY = ("all", "mean", "pcgrad", "agreement")
"""What is compared; ``all`` keeps everything."""
MEASURES = (
    "own pairs kept", "majority's kept", "noise kept", "minority learns", "majority learns",
)  # fmt: skip
Outcomes = dict[str, dict[str, list[float]]]
"""By what kept the pairs, each of `MEASURES` in each draw."""


@dataclass(frozen=True)
class World:
    """``right``, 1 or −1 of each pair, float64 ``[n]``: whether the file's label is what the majority wants."""

    gram: np.ndarray
    languages: np.ndarray
    groups: np.ndarray
    right: np.ndarray


def opposite(evidence: Evidence) -> World:
    """The majority wants what the file says."""
    pairs = evidence.pairs
    gram = evidence.grams[SIGMOID, ALL_LAYERS]
    return World(gram, pairs.languages, pairs.groups, np.ones(len(gram)))


def by_length(evidence: Evidence, least: float) -> World:
    """The majority wants the longer answer; on pairs whose lengths differ by more than ``least`` of the logarithm."""
    rows = np.flatnonzero(np.abs(evidence.ratios) > least)
    pairs = evidence.pairs
    gram = evidence.grams[SIGMOID, ALL_LAYERS][np.ix_(rows, rows)]
    return World(gram, pairs.languages[rows], pairs.groups[rows], np.sign(evidence.ratios[rows]))


def outcomes(world: World, size: int, draws: int) -> Outcomes:
    """What each aggregator keeps at the default threshold, and what comes of it."""
    found: Outcomes = {name: {measure: [] for measure in MEASURES} for name in BY}
    for seed in range(draws):
        split = held_out(world.groups, seed)
        for name, measures in _outcome(world, size, seed, split).items():
            for measure, value in measures.items():
                found[name][measure].append(value)
    return found


def _outcome(world: World, size: int, seed: int, held: np.ndarray) -> dict[str, dict[str, float]]:
    rows, out = np.flatnonzero(~held), np.flatnonzero(held)
    languages = world.languages[rows]
    # The minority is drawn by its own seed, and the noise is the same everywhere.
    noise = draw(Regime("", size, NOISE, NOISE), world.languages, seed)
    minority = noise.chosen
    wanted = np.where(minority, -1.0, 1.0) * world.right  # what each pair's language rightly wants
    signs = wanted * noise.signs
    inner = Inner.of(signed(unit(world.gram[np.ix_(rows, rows)]), signs[rows]), languages)
    wrong, few = noise.wrong[rows], minority[rows]
    # A step of training takes gradients as long as they are.
    towards = signed(world.gram, signs)[np.ix_(out, rows)] * noise.signs[out][:, None]  # held-out labels are right
    found = {}
    for name in BY:
        keep = np.ones(len(rows), dtype=np.bool_) if name == "all" else inner.by(name) <= 0
        grows = grown(towards, keep)
        values = (
            keep[few & ~wrong].mean(), keep[~few & ~wrong].mean(), keep[wrong].mean(),
            grows[minority[out]].mean(), grows[~minority[out]].mean(),
        )  # fmt: skip
        found[name] = {measure: float(value) for measure, value in zip(MEASURES, values, strict=True)}
    return found
