"""Ranks among pairs of like length ratio, beside a plain calculation and what they are for."""

from collections.abc import Sequence

import numpy as np
import pytest
from congrad.contract.lengths import ranks_by_length
from congrad.contract.selection import select
from congrad.contract.wire import Decision, FractionSelection
from scipy.stats import spearmanr


def decisions(scores: Sequence[float], ratios: Sequence[float | None], language: str = "de") -> list[Decision]:
    return [
        Decision(str(number), language, False, score, [], False, None, length_ratio=ratio)
        for number, (score, ratio) in enumerate(zip(scores, ratios, strict=True))
    ]


def kept(share: float, given: Sequence[Decision]) -> np.ndarray:
    chosen = select(FractionSelection(keep=share, within="language-length"), given)
    return np.array([decision.keep for decision in chosen])


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are mostly length, and how many times as long the chosen answers are."""
    draw = np.random.default_rng(seed)
    ratios = np.exp(draw.normal(0, 0.7, count))
    return -np.tanh(np.log(ratios)) + 0.2 * draw.normal(size=count), ratios


def test_half_of_each_stratum_is_kept_as_sorting_and_cutting_it_by_hand_does() -> None:
    """200 pairs are 20 strata of ten."""
    scores, ratios = drawn(200)
    expected = np.zeros(200, dtype=bool)
    for stratum in np.argsort(ratios).reshape(20, 10):
        expected[stratum[np.argsort(scores[stratum])[:5]]] = True
    assert (kept(0.5, decisions(scores.tolist(), ratios.tolist())) == expected).all()


@pytest.mark.parametrize("count", [1, 9, 19, 20, 33, 137, 1000])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 1.0])
def test_the_share_of_a_language_is_exact_and_that_of_a_stratum_is_to_within_a_pair(count: int, share: float) -> None:
    scores, ratios = drawn(count)
    keep = kept(share, decisions(scores.tolist(), ratios.tolist()))
    assert keep.sum() == int(share * count + 0.5)
    for stratum in np.array_split(keep[np.argsort(ratios)], min(20, max(1, count // 10))):
        assert abs(stratum.sum() - share * len(stratum)) <= 1.5


def test_what_is_kept_does_not_follow_length_although_the_scores_do() -> None:
    scores, ratios = drawn(1000)
    given = decisions(scores.tolist(), ratios.tolist())
    by_score = [one.keep for one in select(FractionSelection(keep=0.6, within="language"), given)]
    assert spearmanr(by_score, ratios).statistic > 0.7
    assert abs(spearmanr(kept(0.6, given), ratios).statistic) < 0.05


def test_pairs_without_a_ratio_are_ranked_among_themselves() -> None:
    scores, ratios = drawn(100)
    some = [None if position % 5 == 0 else ratio for position, ratio in enumerate(ratios.tolist())]
    keep = kept(0.5, decisions(scores.tolist(), some))
    without = scores[::5]
    assert keep[::5].tolist() == (without < np.median(without)).tolist()


def test_languages_are_ranked_each_by_itself() -> None:
    scores, ratios = drawn(60)
    german, french = decisions(scores.tolist(), ratios.tolist()), decisions(scores.tolist(), ratios.tolist(), "fr")
    mixed = [one for pair in zip(german, french, strict=True) for one in pair]
    assert kept(0.4, mixed).tolist() == np.repeat(kept(0.4, german), 2).tolist()


def test_fewer_than_twenty_pairs_are_ranked_by_their_scores_alone() -> None:
    scores, ratios = drawn(19)
    assert ranks_by_length(scores.tolist(), ratios.tolist()) == np.argsort(np.argsort(scores)).tolist()
