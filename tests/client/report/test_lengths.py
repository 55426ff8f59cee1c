"""How far scores follow length."""

import numpy as np
import pytest
from congrad.contract import wire
from congrad.report.lengths import FEWEST, length_spearman, told
from scipy.stats import spearmanr


def decision(score: float | None, ratio: float | None, language: str = "de") -> wire.Decision:
    return wire.Decision(
        id="a",
        language=language,
        keep=True,
        conflict_score=score,
        conflicts_with=[],
        truncated=False,
        reason=None,
        length_ratio=ratio,
    )


def test_it_is_the_rank_correlation_with_the_ratio_of_lengths_ties_included() -> None:
    draw = np.random.default_rng(0)
    ratios = [float(chosen / rejected) for chosen, rejected in draw.integers(1, 9, (200, 2))]
    scores = [round(float(draw.normal()) - 0.3 * float(np.log(ratio)), 1) for ratio in ratios]
    found = length_spearman(decision(*one) for one in zip(scores, ratios, strict=True))
    assert found == {"de": pytest.approx(spearmanr(scores, ratios).statistic)}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-0.45, "scores follow length: in de a long chosen answer alone looks good (Spearman"),
        (0.45, "scores follow length: in de a short chosen answer alone looks good (Spearman"),
        (0.1, "scores hardly follow length, which is as it should be (Spearman"),
    ],
)
def test_it_is_said_in_words_whether_they_do(value: float, words: str) -> None:
    assert told({"de": value, "ja": 0.0}).startswith(words)
    assert f"de {value:+.2f}, ja +0.00" in told({"de": value, "ja": 0.0})
    assert ("--within length" in told({"de": value})) == (abs(value) > 0.3)


def test_nothing_is_said_of_few_pairs_or_of_those_without_a_score_or_another_answer() -> None:
    decisions = [decision(0.1, 0.5, "ja")]
    for _ in range(FEWEST):
        decisions += [decision(None, 0.5), decision(0.1, None, "fr"), decision(0.1, 0.5, "it")]
    assert (length_spearman(decisions), told({})) == ({}, "")
