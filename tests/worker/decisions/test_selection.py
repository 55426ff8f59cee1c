"""The rules that turn scores into keep and drop."""

import numpy as np
import pytest
from congrad.contract.wire import FractionSelection, Reason, ThresholdSelection
from congrad_worker.decisions.selection import lowest, select

NAN = float("nan")


def test_the_threshold_keeps_what_is_at_most_the_bound() -> None:
    keep = select(
        ThresholdSelection(max_conflict=0.1), np.array([-0.5, 0.1, 0.11]), [None] * 3, ["de"] * 3, {}, [None] * 3
    )
    assert keep.tolist() == [True, True, False]


def test_reasons_decide_where_there_is_no_score() -> None:
    reasons = [Reason.NO_DIRECTION, Reason.ZERO_GRADIENT, Reason.NON_FINITE_GRADIENT, None]
    scores = np.array([NAN, NAN, NAN, 0.3])
    for selection in (ThresholdSelection(max_conflict=1.0), FractionSelection(kind="fraction", keep=1.0)):
        assert select(selection, scores, reasons, ["de"] * 4, {}, [None] * 4).tolist() == [True, False, False, True]


def test_a_fraction_within_languages_ranks_each_by_itself() -> None:
    scores = np.array([0.9, 0.8, 0.1, 0.2])
    selection = FractionSelection(kind="fraction", keep=0.5, within="language")
    assert select(selection, scores, [None] * 4, ["de", "de", "fr", "fr"], {}, [None] * 4).tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_a_fraction_within_the_request_ranks_all_together() -> None:
    scores = np.array([0.9, 0.8, 0.1, 0.2])
    selection = FractionSelection(kind="fraction", keep=0.5, within="request")
    assert select(selection, scores, [None] * 4, ["de", "de", "fr", "fr"], {}, [None] * 4).tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_a_fraction_within_the_stream_ranks_against_earlier_scores() -> None:
    recent = {"de": np.linspace(-1, 1, 101, dtype=np.float32)}
    selection = FractionSelection(kind="fraction", keep=0.6, within="stream")
    scores = np.array([0.0, 0.19, 0.25, 0.9])
    assert select(selection, scores, [None] * 4, ["de"] * 4, recent, [None] * 4).tolist() == [True, True, False, False]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 2), (0.6, 2), (0.7, 3), (1.0, 4)])
def test_shares_are_rounded_and_ties_go_to_the_first(share: float, count: int) -> None:
    marked = lowest(np.zeros(4), share)
    assert marked.tolist() == [True] * count + [False] * (4 - count)
