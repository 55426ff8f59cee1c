"""Which pairs to keep, given their conflict scores: the rules that rank pairs against each other."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from congrad.contract import wire
from congrad.contract.lengths import ranks_by_length
from congrad.contract.validation.asked import asked


def lowest(scores: Sequence[float], share: float) -> list[bool]:
    """Marks the share with the lowest scores, rounded to the nearest count; among equals the first."""
    ranked = sorted(range(len(scores)), key=lambda i: scores[i])
    # Half up: `round` goes to the even neighbour, which would keep 2 of 5 and 4 of 7.
    marked = set(ranked[: int(share * len(scores) + 0.5)])
    return [i in marked for i in range(len(scores))]


def chosen(
    selection: wire.ThresholdSelection | wire.FractionSelection | Mapping[str, Any],
) -> wire.ThresholdSelection | wire.FractionSelection:
    """A selection that may be given as its fields.

    :raises ValueError: it is none.
    """
    found: wire.ThresholdSelection | wire.FractionSelection = asked(wire.Selection, selection, "selection")
    return found


def select(
    selection: wire.ThresholdSelection | wire.FractionSelection | Mapping[str, Any], decisions: Sequence[wire.Decision]
) -> list[wire.Decision]:
    """The decisions as another selection would have made them from the same scores.

    A decision without a score stays as it is. ``within: request`` ranks all of ``decisions`` against each other.

    :raises ValueError: it is no selection; or it is ``within: stream``, whose earlier scores only the service knows.
    """
    selection = chosen(selection)
    groups: defaultdict[str, list[int]] = defaultdict(list)
    keep = [decision.keep for decision in decisions]
    if isinstance(selection, wire.FractionSelection) and selection.within == "stream":
        raise ValueError("within: stream ranks against scores that only the service knows")
    for i, decision in enumerate(decisions):
        if decision.conflict_score is not None:
            groups[decision.language if _is_by_language(selection) else ""].append(i)
    for rows in groups.values():
        scores: Sequence[float] = [decisions[i].conflict_score or 0.0 for i in rows]
        if isinstance(selection, wire.FractionSelection) and selection.within == "language-length":
            scores = ranks_by_length(scores, [decisions[i].length_ratio for i in rows])
        for i, is_kept in zip(rows, _rule(selection, scores), strict=True):
            keep[i] = is_kept
    return [replace(decision, keep=k) for decision, k in zip(decisions, keep, strict=True)]


def _is_by_language(selection: wire.ThresholdSelection | wire.FractionSelection) -> bool:
    return isinstance(selection, wire.FractionSelection) and selection.within.startswith("language")


def _rule(selection: wire.ThresholdSelection | wire.FractionSelection, scores: Sequence[float]) -> list[bool]:
    if isinstance(selection, wire.ThresholdSelection):
        return [score <= selection.max_conflict for score in scores]
    return lowest(scores, selection.keep)
