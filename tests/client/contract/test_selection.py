"""Selections that are made in the client: as the service would have made them of the same scores."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from congrad.contract.selection import lowest, select
from congrad.contract.wire import Decision, FractionSelection, Reason, ThresholdSelection
from congrad_worker.decisions.selection import select as select_in_worker

LANGUAGES = ("de", "fr", "zh-Hant")
WITHIN: tuple[Literal["language", "language-length", "request"], ...] = ("language", "language-length", "request")


def decisions(scores: Sequence[float | None], languages: Sequence[str] | None = None) -> list[Decision]:
    """Decisions with these scores; all are dropped, but for those without a score."""
    return [
        Decision(
            id=str(i),
            language=languages[i] if languages else "de",
            keep=score is None,
            conflict_score=score,
            conflicts_with=[],
            truncated=False,
            reason=Reason.NO_DIRECTION if score is None else None,
        )
        for i, score in enumerate(scores)
    ]


def kept(found: Sequence[Decision]) -> list[bool]:
    return [decision.keep for decision in found]


@pytest.mark.parametrize(
    "selection",
    [
        ThresholdSelection(max_conflict=0.25),
        *(FractionSelection(kind="fraction", keep=0.35, within=within) for within in WITHIN),
    ],
    ids=["threshold", *WITHIN],
)
def test_the_client_selects_as_the_service_does(selection: ThresholdSelection | FractionSelection) -> None:
    """Scores are multiples of a quarter, so that many are equal, and some are missing, as are ratios of lengths."""
    draw = np.random.default_rng(0)
    scores = draw.integers(-4, 5, 500) / 4
    missing = draw.random(500) < 0.1
    languages = [str(tag) for tag in draw.choice(LANGUAGES, 500)]
    own = decisions([None if gone else float(score) for score, gone in zip(scores, missing, strict=True)], languages)
    ratios = [None if ratio > 1.8 else float(ratio) for ratio in draw.random(500) * 2]
    own = [replace(decision, length_ratio=ratio) for decision, ratio in zip(own, ratios, strict=True)]
    reasons = [Reason.NO_DIRECTION if gone else None for gone in missing]
    of_service = select_in_worker(selection, np.where(missing, np.nan, scores), reasons, languages, {}, ratios)
    assert kept(select(selection, own)) == of_service.tolist()
    assert 0 < sum(of_service) < 500


def test_a_score_at_the_threshold_is_kept() -> None:
    found = select(ThresholdSelection(max_conflict=0.1), decisions([-0.5, 0.1, 0.11]))
    assert kept(found) == [True, True, False]


def test_a_decision_without_a_score_stays_and_takes_no_ones_place() -> None:
    selection = FractionSelection(kind="fraction", keep=0.5)
    assert kept(select(selection, decisions([None, 0.9, None, 0.8]))) == [True, False, True, True]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 2), (0.6, 2), (0.7, 3), (1.0, 4)])
def test_shares_are_rounded_and_ties_go_to_the_first(share: float, count: int) -> None:
    assert lowest([0.0] * 4, share) == [True] * count + [False] * (4 - count)


def test_a_selection_may_be_given_as_its_fields() -> None:
    found = decisions([0.1, -0.1])
    assert select({"kind": "fraction", "keep": 0.5}, found) == select(FractionSelection(keep=0.5), found)
    with pytest.raises(ValueError, match="selection: keep: is missing"):
        select({"kind": "fraction"}, found)


def test_a_rank_in_the_stream_is_the_services_to_know() -> None:
    with pytest.raises(ValueError, match="only the service knows"):
        select(FractionSelection(kind="fraction", keep=0.5, within="stream"), decisions([0.0]))
