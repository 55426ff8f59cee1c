"""Scores: nothing is aligned by chance, and the own share is what leaving a sample out means."""

from pathlib import Path

import numpy as np
import pytest
from congrad.contract.wire import FractionSelection, Reason
from congrad_worker.decisions.consensus import Consensus, consensus
from congrad_worker.decisions.direction import Samples, fold
from congrad_worker.decisions.scores import score
from congrad_worker.gradients.modules import target_modules
from support.autograd import pair_gradient
from support.models import checkpoint, engine
from support.pairs import demo_samples, encoded
from support.scoring import RULES, conflict_scores, outcome, reference_scores, scores_of

DIM = 16_384


def vector(direction: Consensus) -> np.ndarray:
    """d, from the language gradients themselves."""
    states = [state for _, state in sorted(direction.languages.items())]
    whole: np.ndarray = direction.weights @ np.stack([state.gradient for state in states])
    return whole


def random_samples(each: int, languages: int, seed: int) -> Samples:
    gradients = np.random.default_rng(seed).standard_normal((each * languages, DIM)).astype(np.float32)
    return Samples.of(gradients, [f"x-l{i}" for i in range(languages)] * each)


def mean_alignments(each: int, languages: int, repeats: int) -> tuple[float, float]:
    """Mean alignment of independent random gradients, as scored and with the own share left in."""
    fair, naive = [], []
    for seed in range(repeats):
        samples = random_samples(each, languages, seed)
        folded = fold({}, samples, float("inf"))
        direction = consensus(folded.languages, RULES.rule)
        fair.append(-score(samples, folded, direction).conflict.mean())
        vectors, whole = samples.gradients(np.arange(len(samples.norms))), vector(direction)
        naive.append((vectors @ whole / np.linalg.norm(vectors, axis=1) / np.linalg.norm(whole)).mean())
    return float(np.mean(fair)), float(np.mean(naive))


@pytest.mark.parametrize("each", [2, 8, 64])
@pytest.mark.parametrize("languages", [2, 8])
def test_independent_gradients_are_not_aligned_by_chance(each: int, languages: int) -> None:
    fair, naive = mean_alignments(each, languages, repeats=max(2, 64 // (each * languages)))
    assert abs(fair) <= 0.01
    # What the own share would make of it, and proof that the line above would notice.
    assert naive == pytest.approx(1 / np.sqrt(each * languages), rel=0.1)
    assert naive > 0.03


@pytest.mark.parametrize("languages", [("de", "fr", "ja"), ("ar", "en", "zh")])
def test_scores_of_a_real_batch_equal_the_method_by_the_book(languages: tuple[str, ...], small_llama: Path) -> None:
    rows = demo_samples(*languages, each=5)
    pairs, tags = encoded(rows), [row["language"] for row in rows]
    machine = engine(small_llama, projection="exact")
    scores = conflict_scores(machine, pairs, tags)
    loaded = checkpoint(small_llama)
    names = list(target_modules(loaded.model, None))
    gradients = np.stack([pair_gradient(loaded, pair, names) for pair in pairs])
    assert np.allclose(scores, reference_scores(gradients, tags), atol=1e-5)


def test_conflicts_with_names_the_languages_a_gradient_points_away_from() -> None:
    base = np.zeros((3, 8), np.float32)
    base[0, 0], base[1, 0], base[2, 1] = 1.0, -1.0, 1.0
    result = outcome(Samples.of(base, ["de", "fr", "it"]))
    assert [decision.conflicts_with for decision in result.decisions] == [["fr"], ["de"], []]


def test_renaming_and_reordering_languages_changes_no_decision() -> None:
    draw = np.random.default_rng(0)
    languages = [f"x-l{i}" for i in range(9)]
    centers = {tag: draw.standard_normal(256) * 0.5 for tag in languages}
    tags = [languages[i] for i in draw.integers(0, 9, 120)]
    gradients = np.stack([centers[tag] + draw.standard_normal(256) for tag in tags]).astype(np.float32)
    scores = scores_of(outcome(Samples.of(gradients, tags)))
    renamed = {tag: f"x-{name}" for tag, name in zip(languages, draw.permutation(list("abcdefghi")), strict=True)}
    order = draw.permutation(len(tags))
    again = np.empty_like(scores)
    again[order] = scores_of(outcome(Samples.of(gradients[order], [renamed[tags[i]] for i in order])))
    clear = np.abs(scores) > 1e-3
    assert clear.sum() > 100
    assert np.array_equal(scores[clear] > 0, again[clear] > 0)
    assert np.allclose(scores, again, atol=1e-6)


def test_one_sample_alone_has_no_direction_and_is_kept() -> None:
    for seed in range(20):
        result = outcome(random_samples(1, 1, seed))
        assert result.decisions[0].reason is Reason.NO_DIRECTION
        assert result.decisions[0].conflict_score is None
        assert result.decisions[0].keep


def test_without_update_the_own_share_is_zero_and_nothing_changes() -> None:
    first = outcome(random_samples(8, 2, 0))
    batch = random_samples(4, 2, 1)
    result = outcome(batch, first.languages, update=False)
    assert result.languages == first.languages
    whole = vector(consensus(first.languages, RULES.rule))
    vectors = batch.gradients(np.arange(8))
    expected = -vectors @ whole / np.linalg.norm(vectors, axis=1) / np.linalg.norm(whole)
    assert np.allclose(scores_of(result), expected, atol=1e-9)


def test_an_unseen_language_is_scored_like_any_other() -> None:
    first = outcome(random_samples(8, 2, 0))
    batch = Samples.of(np.random.default_rng(5).standard_normal((3, DIM)).astype(np.float32), ["sw"] * 3)
    result = outcome(batch, first.languages, update=False)
    assert np.isfinite(scores_of(result)).all()
    assert "sw" not in result.languages


def test_reasons_say_why_there_is_no_score() -> None:
    gradients = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)
    gradients[1], gradients[2, 3] = 0, np.inf
    result = outcome(Samples.of(gradients, ["de"] * 4))
    reasons = [decision.reason for decision in result.decisions]
    assert reasons == [None, Reason.ZERO_GRADIENT, Reason.NON_FINITE_GRADIENT, None]
    assert [result.decisions[i].keep for i in (1, 2)] == [False, False]
    assert result.languages["de"].samples == 2
    empty = outcome(Samples.of(gradients[1:3], ["de"] * 2))
    assert empty.languages == {}
    assert empty.consensus is None


def test_the_stream_keeps_its_share_over_many_small_requests() -> None:
    draw = np.random.default_rng(0)
    target = draw.standard_normal(64)
    states = outcome(
        Samples.of((0.3 * target + draw.standard_normal((64, 64))).astype(np.float32), ["de"] * 64)
    ).languages
    kept = 0
    for _ in range(150):
        batch = Samples.of((0.3 * target + draw.standard_normal((2, 64))).astype(np.float32), ["de"] * 2)
        result = outcome(batch, states, selection=FractionSelection(kind="fraction", keep=0.6, within="stream"))
        kept += result.summary.kept
        states = result.languages
    assert kept / 300 == pytest.approx(0.6, abs=0.08)
