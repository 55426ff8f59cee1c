"""How far conflict scores follow the length of the answers: mostly the longer one is chosen, and a filter may learn
that alone."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import StatisticsError, correlation

from congrad.contract import wire

FOLLOWS = 0.3
"""A correlation from which on, on either side, it is said that scores follow length: a tenth of their variance."""

FEWEST = 10
"""Pairs of a language: a rank correlation of fewer says nothing."""


def length_spearman(decisions: Iterable[wire.Decision]) -> dict[str, float]:
    """Spearman's rank correlation of conflict score and ratio of lengths by language, from -1 to 1, where there are
    enough pairs."""
    scores: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    ratios: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    for decision in decisions:
        if decision.conflict_score is not None and decision.length_ratio is not None:
            scores[decision.language].append(decision.conflict_score)
            ratios[decision.language].append(decision.length_ratio)
    found = {tag: _spearman(own, ratios[tag]) for tag, own in sorted(scores.items())}
    return {tag: value for tag, value in found.items() if value is not None}


def listed(values: Mapping[str, float]) -> str:
    """By language, in a line."""
    return ", ".join(f"{tag} {value:+.2f}" for tag, value in values.items())


def told(values: Mapping[str, float]) -> str:
    """What they mean, and whether there is something to do; empty where there are none."""
    if not values:
        return ""
    measured = f"(Spearman of conflict with how much longer the chosen answer is: {listed(values)})"
    longer = [tag for tag, value in values.items() if value <= -FOLLOWS]
    shorter = [tag for tag, value in values.items() if value >= FOLLOWS]
    looks = [
        f"in {', '.join(tags)} {kind} chosen answer alone looks good"
        for tags, kind in ((longer, "a long"), (shorter, "a short"))
        if tags
    ]
    if not looks:
        return f"scores hardly follow length, which is as it should be {measured}"
    return (
        f"scores follow length: {'; '.join(looks)} {measured}; --keep SHARE --within length keeps a share among pairs "
        "of like lengths"
    )


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
