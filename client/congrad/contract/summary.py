"""Counts of decisions."""

from collections.abc import Sequence
from statistics import fmean

from congrad.contract import wire


def summarise(decisions: Sequence[wire.Decision]) -> wire.Summary:
    """Counts by language, and over all."""
    kept: dict[str, int] = {}
    total: dict[str, int] = {}
    repeated: dict[str, int] = {}
    scores: dict[str, list[float]] = {}
    for decision in decisions:
        tag = decision.language
        kept[tag] = kept.get(tag, 0) + decision.keep
        total[tag] = total.get(tag, 0) + 1
        repeated[tag] = repeated.get(tag, 0) + decision.repeated
        own = scores.setdefault(tag, [])
        if decision.conflict_score is not None:
            own.append(decision.conflict_score)
    by_language = {
        tag: wire.LanguageSummary(
            kept=kept[tag],
            dropped=total[tag] - kept[tag],
            repeated=repeated[tag],
            mean_conflict=fmean(scores[tag]) if scores[tag] else None,
        )
        for tag in sorted(total)
    }
    all_kept = sum(kept.values())
    return wire.Summary(
        kept=all_kept,
        dropped=len(decisions) - all_kept,
        repeated=sum(repeated.values()),
        by_language=by_language,
    )
