"""How well scores find labels that were swapped: by regime, subset of the pairs, and what scores are made of."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.planted.real_text import MATCHED as LOG_RATIO
from benchmarks.planted.statistics import auroc, average_precision
from benchmarks.pretrained.evidence import ALL_LAYERS, LOSSES, SIGMOID, Gradients, gram
from benchmarks.pretrained.pairs import Pairs
from benchmarks.pretrained.parts import LAYERS
from benchmarks.pretrained.regimes import EVERYWHERE, REGIMES, THREE, Draw, Regime, draw
from benchmarks.pretrained.scores import OWN, Inner, signed, unit

ALL, MATCHED, BALANCED = "all", "matched length", "balanced by length"
LENGTH = "length alone"
AGGREGATORS = ("mean", "pcgrad", "agreement", "upgrad", "mgda", "cagrad", "aligned_mtl", "imtl_g", "dualproj")
BY = (OWN, *AGGREGATORS)
LONG = " (lengths as they are)"
"""Of gradients: as the paper has them."""

Figures = dict[str, dict[str, list[float]]]
"""By score, ``auroc`` and ``average_precision`` of each draw."""


@dataclass(frozen=True)
class Evidence:
    """One checkpoint: pairs, and by loss and layers the inner products of their gradients as they are, ``[n, n]``."""

    pairs: Pairs
    grams: Mapping[tuple[str, str], np.ndarray]

    @classmethod
    def of(cls, pairs: Pairs, found: Gradients) -> "Evidence":
        """Of all losses with all layers, and of all choices of layers with DPO's."""
        losses = [loss for loss in LOSSES if found.cut is not None or "ld_alpha" not in loss]
        wanted = [*((loss, ALL_LAYERS) for loss in losses), *((SIGMOID, layers) for layers in LAYERS)]
        grams = {one: gram(found.of(*one)) for one in dict.fromkeys(wanted)}
        return cls(pairs, {one: of for one, of in grams.items() if of.any()})  # a small model has no upper eighth

    @property
    def ratios(self) -> np.ndarray:
        """ln |chosen| − ln |rejected|: float64 ``[n]``."""
        lengths = np.log(self.pairs.lengths)
        ratios: np.ndarray = lengths[:, 0] - lengths[:, 1]
        return ratios


def subsets(evidence: Evidence) -> dict[str, np.ndarray]:
    """Positions of the pairs in each subset."""
    ratios, languages = evidence.ratios, evidence.pairs.languages
    return {
        ALL: np.arange(len(ratios)),
        MATCHED: np.flatnonzero(np.abs(ratios) <= LOG_RATIO),
        BALANCED: balanced(ratios, languages),
    }


def balanced(ratios: np.ndarray, languages: np.ndarray) -> np.ndarray:
    """As many pairs with the longer completion chosen as with the shorter one, language by language: positions."""
    found: list[int] = []
    for tag in np.unique(languages):
        rows = np.flatnonzero(languages == tag)
        rarer, others = sorted((rows[ratios[rows] < 0], rows[ratios[rows] > 0]), key=len)
        left = others.tolist()
        for row in rarer.tolist():
            partner = min(left, key=lambda other: abs(ratios[other] + ratios[row]))
            left.remove(partner)
            found += [row, partner]
    return np.array(sorted(found), dtype=np.int64)


def detection(evidence: Evidence, rows: np.ndarray, regime: Regime, draws: int) -> Figures:
    """By every score, on some of the pairs."""
    languages, ratios = evidence.pairs.languages[rows], evidence.ratios[rows]
    lengths = evidence.grams[SIGMOID, ALL_LAYERS][np.ix_(rows, rows)]
    units = unit(lengths)

    def scores(drawn: Draw) -> Iterator[tuple[str, np.ndarray]]:
        yield LENGTH, -ratios * drawn.signs
        for gradients, suffix, names in ((units, "", BY), (lengths, LONG, ("mean", "pcgrad"))):
            inner = Inner.of(signed(gradients, drawn.signs), languages)
            yield from ((name + suffix, inner.by(name)) for name in names)

    return measured(scores, [draw(regime, languages, seed) for seed in range(draws)])


def varied(grams: Mapping[str, np.ndarray], languages: np.ndarray, draws: int) -> dict[str, Figures]:
    """By what gradients were made of, PCGrad where a fifth is swapped everywhere and agreement there and where most are
    in three languages: by the regime's name."""
    found = {}
    for regime in (EVERYWHERE, THREE):
        drawn = [draw(regime, languages, seed) for seed in range(draws)]

        def scores(one: Draw) -> Iterator[tuple[str, np.ndarray]]:
            for name, values in grams.items():
                inner = Inner.of(signed(unit(values), one.signs), languages)
                yield from ((f"{name}, {by}", inner.by(by)) for by in ("pcgrad", "agreement"))

        found[regime.name] = measured(scores, drawn)
    return found


def by_layers(evidence: Evidence, draws: int) -> dict[str, Figures]:
    """The choices of layers."""
    grams = {layers: of for (loss, layers), of in evidence.grams.items() if loss == SIGMOID}
    return varied(grams, evidence.pairs.languages, draws)


def by_loss(evidence: Evidence, draws: int) -> dict[str, Figures]:
    """The losses."""
    grams = {loss: of for (loss, layers), of in evidence.grams.items() if layers == ALL_LAYERS}
    return varied(grams, evidence.pairs.languages, draws)


def all_detections(evidence: Evidence, draws: int) -> dict[str, dict[str, Any]]:
    """By subset how many pairs there are, and by regime the figures."""
    return {
        name: {
            "pairs": len(rows),
            "regimes": {regime.name: detection(evidence, rows, regime, draws) for regime in REGIMES},
        }
        for name, rows in subsets(evidence).items()
    }


def measured(scores: Callable[[Draw], Iterable[tuple[str, np.ndarray]]], drawn: Iterable[Draw]) -> Figures:
    """AUROC and average precision of some scores, of each draw."""
    found: Figures = {}
    for one in drawn:
        if one.wrong.all() or not one.wrong.any():  # of few pairs a share may be none
            continue
        for name, values in scores(one):
            own = found.setdefault(name, {"auroc": [], "average_precision": []})
            own["auroc"].append(auroc(values, one.wrong))
            own["average_precision"].append(average_precision(values, one.wrong))
    return found
