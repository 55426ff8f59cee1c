"""How far scores follow length."""

import numpy as np
import pytest
from congrad.contract import wire
from congrad.report.lengths import FEWEST, Lengths
from scipy.stats import spearmanr


def decision(score: float | None, language: str = "de") -> wire.Decision:
    return wire.Decision(
        id="a", language=language, keep=True, conflict_score=score, conflicts_with=[], truncated=False, reason=None
    )


def test_it_is_the_rank_correlation_with_the_ratio_of_lengths_ties_included() -> None:
    draw = np.random.default_rng(0)
    lengths, scores, ratios = Lengths(), [], []
    for _ in range(200):
        chosen, rejected = (int(number) for number in draw.integers(1, 9, 2))
        score = round(float(draw.normal()) - 0.3 * np.log(chosen / rejected), 1)
        texts = {"chosen": "x" * chosen, "rejected": [{"role": "assistant", "content": "y" * rejected}]}
        lengths.add(decision(score), texts)
        scores.append(score)
        ratios.append(np.log(chosen / rejected))
    assert lengths.by_language() == {"de": pytest.approx(spearmanr(scores, ratios).statistic)}
    assert f"de {lengths.by_language()['de']:+.2f}; the further below 0" in lengths.told


def test_nothing_is_said_of_few_pairs_or_of_those_without_a_score_or_another_answer() -> None:
    lengths = Lengths()
    for _ in range(FEWEST):
        lengths.add(decision(None), {"chosen": "a", "rejected": "bb"})
        lengths.add(decision(0.1, "fr"), {"completion": "a", "prompt": "b"})
        lengths.add(decision(0.1, "it"), {"chosen": "a", "rejected": "bb"})
    lengths.add(decision(0.1, "ja"), {"chosen": "a", "rejected": "bb"})
    assert (lengths.by_language(), lengths.told) == ({}, "")
