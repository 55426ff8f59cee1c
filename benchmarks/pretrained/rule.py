"""Which aggregator should be the default: the rule, written down before any table was made.

1. The worst regime decides: the lowest mean AUROC over the regimes of noise and the checkpoints, on all pairs.
2. Those within 0.005 of the best are even; of them the one with the highest mean over regimes and checkpoints wins.
3. It has to be within 0.005 of the best where a fifth is swapped everywhere: the usual must not pay for what is rare.

What a minority that is right loses is no part of it, since a filter cannot know who is right; it is measured, and said
where the default is described.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from benchmarks.pretrained.detection import AGGREGATORS, ALL
from benchmarks.pretrained.regimes import EVERYWHERE, REGIMES

EVEN = 0.005
"""Differences of AUROC up to this are none."""


@dataclass(frozen=True)
class Standing:
    """One aggregator: its mean AUROC in the worst regime, and which that is, over all regimes, and in the usual one."""

    name: str
    worst: float
    where: str
    mean: float
    usual: float


def standings(found: Mapping[str, Mapping[str, Any]]) -> list[Standing]:
    """All aggregators, the default by the rule first.

    :param found: by checkpoint what was measured.
    """
    every = [_standing(name, found) for name in AGGREGATORS]
    usual = max(one.usual for one in every)
    worst = max(one.worst for one in every if one.usual >= usual - EVEN)  # those that may be chosen

    def key(one: Standing) -> tuple[bool, bool, float, float]:
        is_even = one.worst >= worst - EVEN
        return (one.usual >= usual - EVEN, is_even, 0 if is_even else one.worst, one.mean)

    return sorted(every, key=key, reverse=True)


def _standing(name: str, found: Mapping[str, Mapping[str, Any]]) -> Standing:
    cells = {
        (model, regime.name): mean(of["detection"][ALL]["regimes"][regime.name][name]["auroc"])
        for model, of in found.items()
        for regime in REGIMES
    }
    worst = min(cells, key=lambda cell: cells[cell])
    usual: Sequence[float] = [value for (_, regime), value in cells.items() if regime == EVERYWHERE.name]
    return Standing(name, cells[worst], ", ".join(worst), mean(cells.values()), mean(usual))
