"""What the pictures show of decisions."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

from congrad.contract import wire

WIDTH = 0.01
"""Of a bin of scores."""
# Rounded to what a user types: a sum of hundredths is off by a little, and the scores at an edge in the wrong bin.
EDGES = [round(number * WIDTH - 1, 2) for number in range(201)]


def distributions(decisions: Sequence[wire.Decision]) -> wire.DirectionScores:
    """Histograms of conflict scores by language, as those of a direction."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for decision in decisions:
        if decision.conflict_score is not None:
            scores[decision.language].append(decision.conflict_score)
    languages = {
        tag: wire.LanguageScores(count=len(own), mean=fmean(own), histogram=_histogram(own))
        for tag, own in sorted(scores.items())
    }
    return wire.DirectionScores(width=WIDTH, languages=languages)


def _histogram(scores: Iterable[float]) -> list[int]:
    """Bins are (lo, hi], the first one closed, so that those up to a threshold are what it keeps."""
    last = len(EDGES) - 2
    counts = Counter(min(max(bisect_left(EDGES, score) - 1, 0), last) for score in scores)
    return [counts[number] for number in range(last + 1)]


def conflicts(decisions: Iterable[wire.Decision]) -> wire.DirectionConflicts:
    """How many of a language's dropped pairs with a score conflict with each other language."""
    languages: defaultdict[str, Counter[str]] = defaultdict(Counter)
    dropped: Counter[str] = Counter()
    for decision in decisions:
        languages.setdefault(decision.language, Counter())
        if not decision.keep and decision.conflict_score is not None:
            dropped[decision.language] += 1
            languages[decision.language].update(decision.conflicts_with)
    counts = {
        tag: wire.LanguageConflicts(dropped=dropped[tag], conflicts_with=dict(sorted(others.items())))
        for tag, others in sorted(languages.items())
    }
    return wire.DirectionConflicts(languages=counts)


def most_telling(decisions: Sequence[wire.Decision], limit: int) -> list[int]:
    """The positions, in order, of the pairs to show where there are too many: from both ends of each language's scores
    inwards, and as many of those without a score."""
    groups: defaultdict[tuple[str, bool], list[int]] = defaultdict(list)
    for position, decision in enumerate(decisions):
        groups[decision.language, decision.conflict_score is None].append(position)
    ranked: list[tuple[int, int]] = []
    for rows in groups.values():
        rows.sort(key=lambda position: decisions[position].conflict_score or 0.0)
        ranked += [(min(place, len(rows) - 1 - place), row) for place, row in enumerate(rows)]
    return sorted(row for _, row in sorted(ranked)[:limit])


def threshold_of(decisions: Iterable[wire.Decision]) -> float | None:
    """A threshold that explains which pairs were kept: 0, the default, if it does, else the highest score that was
    kept. None where none does, as with a fraction of each language."""
    kept, dropped = [-1.0], [float("inf")]
    for decision in decisions:
        if decision.conflict_score is not None:
            (kept if decision.keep else dropped).append(decision.conflict_score)
    highest, lowest = max(kept), min(dropped)
    if highest >= lowest:
        return None
    return 0.0 if highest <= 0 < lowest else highest
