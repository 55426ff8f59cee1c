"""The running mean: the paper's moving average, counted in samples."""

import numpy as np
import pytest
from congrad_worker.decisions.direction import LanguageState, Samples, Stake, fold, unfolded

DIM = 64


def samples(count: int, seed: int, languages: list[str] | None = None) -> Samples:
    gradients = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return Samples.of(gradients, languages or ["de"] * count)


def rows(batch: Samples) -> np.ndarray:
    return batch.gradients(np.arange(len(batch.norms)))


def test_an_infinite_half_life_is_the_plain_mean() -> None:
    states: dict[str, LanguageState] = {}
    batches = [samples(n, seed) for seed, n in enumerate((1, 7, 30))]
    for batch in batches:
        states = fold(states, batch, float("inf")).languages
    everything = np.concatenate([rows(batch) for batch in batches])
    assert np.allclose(states["de"].gradient, everything.mean(0), atol=1e-6)
    assert states["de"].weight == pytest.approx(38)
    assert states["de"].samples == 38


def test_mini_batches_of_equal_size_are_the_papers_moving_average() -> None:
    gamma, size = 0.9, 8
    half_life = size * np.log(2) / -np.log(gamma)
    states: dict[str, LanguageState] = {}
    average, norm = np.zeros(DIM), 0.0
    for seed in range(25):
        batch = samples(size, seed)
        states = fold(states, batch, half_life).languages
        average = gamma * average + (1 - gamma) * rows(batch).mean(0)
        norm = gamma * norm + (1 - gamma)  # what a start at zero lacks
    assert np.allclose(states["de"].gradient, average / norm, atol=1e-6)


def test_a_long_half_life_loses_no_digits() -> None:
    batch = samples(5, 0)
    long, infinite = fold({}, batch, 1e12).languages["de"], fold({}, batch, float("inf")).languages["de"]
    assert long.weight == pytest.approx(infinite.weight, rel=1e-9)
    assert np.allclose(long.total, infinite.total, rtol=1e-6)


@pytest.mark.parametrize("half_life", [16.0, float("inf")])
def test_the_share_is_what_a_sample_contributes(half_life: float) -> None:
    before = fold({}, samples(10, 0), half_life).languages
    batch = samples(4, 1)
    folded = fold(before, batch, half_life)
    # The same fold with the third gradient set to zero, but counted.
    counted = fold(before, batch, half_life).languages["de"].gradient - folded.shares[2] * rows(batch)[2]
    mean = np.delete(rows(batch), 2, axis=0).sum(0) / 4
    decay = 2 ** (-4 / half_life)
    amount = folded.languages["de"].weight - decay * before["de"].weight
    expected = (decay * before["de"].total + amount * mean) / folded.languages["de"].weight
    assert np.allclose(counted, expected, atol=1e-6)


@pytest.mark.parametrize("half_life", [5.0, 16.0, float("inf")])
def test_a_stake_tells_what_is_left_of_a_sample_after_later_requests(half_life: float) -> None:
    # Each sample is an axis of its own, so that the language's gradient has its share as a coordinate.
    sizes, tags = (3, 1, 8, 4), ("de", "fr")
    axes = np.arange(2 * sum(sizes)).reshape(-1, 2)  # [samples of each language, languages]
    states: dict[str, LanguageState] = {}
    folded, first = [], 0
    for size in sizes:
        rows = axes[first : first + size].ravel()
        batch = Samples.of(np.eye(axes.size, dtype=np.float32)[rows], list(tags) * size)
        result = fold(states, batch, half_life)
        states, first = result.languages, first + size
        folded.append((rows, batch, result.stakes))
    for rows, batch, stakes in folded:
        expected = [states[tag].gradient[row] for tag, row in zip(batch.languages, rows, strict=True)]
        later = unfolded(states, batch, stakes, half_life)
        assert np.allclose(later.shares, expected, rtol=1e-6)
        assert later.languages == states


def test_only_usable_samples_of_a_language_with_a_stake_have_a_share() -> None:
    gradients = np.random.default_rng(0).standard_normal((4, DIM)).astype(np.float32)
    gradients[1], gradients[2, 5] = 0, np.inf
    batch = Samples.of(gradients, ["de", "de", "de", "fr"])
    states = fold({}, batch, float("inf")).languages
    stakes = {"de": Stake(1, 1.0)}
    assert unfolded(states, batch, stakes, float("inf")).shares.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_splitting_a_request_changes_nothing_with_an_infinite_half_life() -> None:
    batch = samples(40, 3, ["de", "fr"] * 20)
    whole = fold({}, batch, float("inf")).languages
    states: dict[str, LanguageState] = {}
    for part in (slice(0, 13), slice(13, 40)):
        piece = Samples(batch.units[part], batch.norms[part], batch.languages[part])
        states = fold(states, piece, float("inf")).languages
    for tag in ("de", "fr"):
        error = np.linalg.norm(states[tag].gradient - whole[tag].gradient) / np.linalg.norm(whole[tag].gradient)
        assert error <= 1e-6


def test_zero_and_non_finite_gradients_are_not_folded_in() -> None:
    gradients = np.random.default_rng(0).standard_normal((4, DIM)).astype(np.float32)
    gradients[1] = 0
    gradients[2, 5] = np.nan
    folded = fold({}, Samples.of(gradients, ["de"] * 4), float("inf"))
    assert folded.languages["de"].samples == 2
    assert np.allclose(folded.languages["de"].gradient, gradients[[0, 3]].mean(0), atol=1e-3)
    assert folded.shares.tolist() == [0.5, 0.0, 0.0, 0.5]
    assert fold({}, Samples.of(gradients[1:3], ["de"] * 2), 10.0).languages == {}
