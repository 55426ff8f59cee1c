"""How far conflict scores follow the length of the answers: mostly the longer one is chosen, and a filter may learn
that alone."""

import math
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import StatisticsError, correlation
from typing import Any

from congrad.contract import wire

FEWEST = 10
"""Pairs of a language: a rank correlation of fewer says nothing."""


class Lengths:
    """Takes decisions with the samples that they are about."""

    def __init__(self) -> None:
        self._scores: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._ratios: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))

    def add(self, decision: wire.Decision, sample: Mapping[str, Any]) -> None:
        """Takes one; a completion without another is passed over."""
        chosen, rejected = (_characters(sample, name) for name in ("chosen", "rejected"))
        if decision.conflict_score is not None and chosen and rejected:
            self._scores[decision.language].append(decision.conflict_score)
            self._ratios[decision.language].append(math.log(chosen / rejected))

    def by_language(self) -> dict[str, float]:
        """Spearman's rank correlation of conflict score and ln(characters of chosen / characters of rejected), from -1
        to 1; of languages with enough pairs."""
        found = {tag: _spearman(scores, self._ratios[tag]) for tag, scores in sorted(self._scores.items())}
        return {tag: value for tag, value in found.items() if value is not None}

    @property
    def told(self) -> str:
        """The same in words; empty where there are too few pairs."""
        values = ", ".join(f"{tag} {value:+.2f}" for tag, value in self.by_language().items())
        return values and (
            f"scores follow length (Spearman of conflict with how much longer the chosen answer is): {values}; the "
            "further below 0, the more a long chosen answer alone looks good"
        )


def _characters(sample: Mapping[str, Any], name: str) -> int:
    """Of an answer, with the prompt where it is implicit."""
    value = sample.get(name)
    if isinstance(value, str):
        return len(value)
    turns = value if isinstance(value, list) else []
    return sum(len(text) for turn in turns if isinstance(text := turn.get("content"), str))


def _spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    if len(first) < FEWEST:
        return None
    try:
        return correlation(_ranks(first), _ranks(second))
    except StatisticsError:  # all of them alike
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    """Those of equal values are the mean of their places."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for position in order[start:end]:
            ranks[position] = (start + end - 1) / 2
        start = end
    return ranks
