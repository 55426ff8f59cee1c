"""Which pairs to keep, given their conflict scores. The rules see scores, languages and ratios of lengths only."""

from collections.abc import Mapping, Sequence
from itertools import compress

import numpy as np
from congrad.contract.lengths import ranks_by_length
from congrad.contract.wire import FractionSelection, Reason, ThresholdSelection

KEPT_WITHOUT_SCORE = frozenset({Reason.NO_DIRECTION})


def select(
    selection: ThresholdSelection | FractionSelection,
    conflict: np.ndarray,
    reasons: Sequence[Reason | None],
    languages: Sequence[str],
    recent: Mapping[str, np.ndarray],
    ratios: Sequence[float | None],
) -> np.ndarray:
    """Keep or drop for n samples: bool ``[n]``.

    :param conflict: float64 ``[n]``, NaN where there is no score; the reason then decides.
    :param recent: earlier scores of each language in this direction, for ``within: stream``.
    :param ratios: of the lengths of both answers, ``[n]``, None where there is none; for ``within: language-length``.
    """
    keep = np.array([reason in KEPT_WITHOUT_SCORE for reason in reasons], dtype=bool)
    scored = ~np.isnan(conflict)
    keep[scored] = _rule(
        selection, conflict[scored], list(compress(languages, scored)), recent, list(compress(ratios, scored))
    )
    return keep


def _rule(
    selection: ThresholdSelection | FractionSelection,
    conflict: np.ndarray,
    languages: Sequence[str],
    recent: Mapping[str, np.ndarray],
    ratios: Sequence[float | None],
) -> np.ndarray:
    if isinstance(selection, ThresholdSelection):
        return conflict <= selection.max_conflict
    if selection.within == "request":
        return lowest(conflict, selection.keep)
    keep = np.zeros(len(conflict), dtype=bool)
    tags = np.array(languages)
    for tag in set(languages):
        rows = np.flatnonzero(tags == tag)
        own = conflict[rows]
        if selection.within == "language-length":
            own = np.array(ranks_by_length(own.tolist(), [ratios[row] for row in rows.tolist()]), dtype=float)
        earlier = recent.get(tag, np.zeros(0)) if selection.within == "stream" else np.zeros(0)
        # Behind the earlier scores, so that among equals the earlier one ranks first, as it did then.
        keep[rows] = lowest(np.concatenate([earlier, own]), selection.keep)[len(earlier) :]
    return keep


def lowest(scores: np.ndarray, share: float) -> np.ndarray:
    """Marks the share with the lowest scores, rounded to the nearest count; among equals the first: bool ``[n]``."""
    marked = np.zeros(len(scores), dtype=bool)
    marked[np.argsort(scores, kind="stable")[: int(share * len(scores) + 0.5)]] = True
    return marked
