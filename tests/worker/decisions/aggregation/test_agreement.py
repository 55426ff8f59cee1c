"""Agreement: weights by the equation of the method, with the properties that make it one."""

import time

import numpy as np
import pytest
from congrad_worker.decisions.aggregation.agreement import agreement
from congrad_worker.decisions.aggregation.surgery import mean, pcgrad
from support.properties import assert_order_free, conflicting_gradients, cosine


def gradients_at(cosines: np.ndarray, norms: np.ndarray | None = None) -> np.ndarray:
    """Vectors with these cosines between them."""
    rows: np.ndarray = np.linalg.cholesky(cosines)
    return rows if norms is None else rows * norms[:, None]


def shares(gradients: np.ndarray) -> np.ndarray:
    """u: what each language counts."""
    counted: np.ndarray = agreement(gradients @ gradients.T, 0).weights * np.linalg.norm(gradients, axis=1)
    return counted


def alike(count: int, cosine_between: float) -> np.ndarray:
    """Cosines of languages that all agree alike."""
    return np.full((count, count), cosine_between) + (1 - cosine_between) * np.eye(count)


def camps(first: int, second: int, within: float = 0.5, between: float = -0.3) -> np.ndarray:
    """Cosines of two camps."""
    signs = np.repeat([1, -1], [first, second])
    matrix: np.ndarray = np.where(np.outer(signs, signs) > 0, within, between)
    np.fill_diagonal(matrix, 1)
    return matrix


@pytest.mark.parametrize("seed", range(5))
def test_the_weights_are_a_fixed_point_of_the_equation(seed: int) -> None:
    gradients = conflicting_gradients(9, 40, seed)
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    weights = shares(gradients)
    votes = np.maximum(units @ units.T @ weights - weights, 0)
    assert np.allclose(weights, votes / votes.sum(), atol=1e-9)
    assert weights.sum() == pytest.approx(1)


def test_where_all_agree_it_is_the_first_eigenvector() -> None:
    """The fixed point is the first eigenvector of the matrix without its
    diagonal, as no vote is negative."""
    cosines = np.array([[1, 0.6, 0.2], [0.6, 1, 0.1], [0.2, 0.1, 1]])
    values, vectors = np.linalg.eigh(cosines - np.eye(3))
    first = np.abs(vectors[:, np.argmax(values)])
    assert np.allclose(shares(gradients_at(cosines)), first / first.sum(), atol=1e-9)


@pytest.mark.parametrize("strength", [0.2, 0.6, 1.5])
def test_names_and_positions_of_languages_have_no_say(strength: float) -> None:
    assert_order_free(lambda gram: agreement(gram, 0).weights, conflicting_gradients(12, 200, 2, strength))


def test_the_norms_of_languages_have_no_say() -> None:
    gradients = conflicting_gradients(8, 60, seed=3)
    scaled = gradients * np.random.default_rng(0).uniform(0.01, 100, (8, 1))
    assert np.allclose(shares(gradients), shares(scaled), atol=1e-9)
    assert cosine(*(agreement(g @ g.T, 0).weights @ g for g in (gradients, scaled))) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(10))
def test_no_language_counts_less_than_nothing(seed: int) -> None:
    gram = np.cov(np.random.default_rng(seed).standard_normal((7, 12)))
    assert (agreement(gram, 0).weights >= 0).all()


def test_a_small_change_of_the_cosines_is_a_small_change_of_the_weights() -> None:
    gradients = conflicting_gradients(9, 60, seed=4)
    gradients[0] = gradients[2]  # one more on this side: away from the tie
    nudged = gradients + 1e-6 * np.random.default_rng(1).standard_normal(gradients.shape)
    assert np.abs(shares(gradients) - shares(nudged)).max() < 1e-4


@pytest.mark.parametrize("count", [2, 3, 8])
def test_where_all_agree_alike_it_is_the_mean_of_unit_gradients(count: int) -> None:
    norms = np.linspace(0.5, 3, count)
    gradients = gradients_at(alike(count, 0.4), norms)
    expected = mean(alike(count, 0.4), 0).weights / norms
    assert np.allclose(agreement(gradients @ gradients.T, 0).weights, expected)


def test_one_language_is_the_direction() -> None:
    assert np.allclose(agreement(np.array([[4.0]]), 0).weights, [0.5])


def test_two_languages_count_alike_whether_they_agree_or_not() -> None:
    for between in (0.7, 0.0, -0.7):
        assert np.allclose(shares(gradients_at(alike(2, between))), [0.5, 0.5])


def test_of_three_the_one_that_pulls_against_two_does_not_count() -> None:
    assert np.allclose(shares(gradients_at(camps(2, 1))), [0.5, 0.5, 0])


def test_a_language_alone_against_all_has_no_veto() -> None:
    gradients = gradients_at(camps(7, 1))
    assert np.allclose(shares(gradients), [1 / 7] * 7 + [0])
    vetoed = pcgrad(gradients @ gradients.T, 0).weights @ gradients
    heard = agreement(gradients @ gradients.T, 0).weights @ gradients
    assert vetoed @ gradients[7] / np.linalg.norm(vetoed) > heard @ gradients[7] / np.linalg.norm(heard)


@pytest.mark.parametrize(("within", "between"), [(0.5, -0.3), (0.9, -0.1), (0.2, -0.2)])
def test_of_two_equal_camps_neither_wins(within: float, between: float) -> None:
    weights = shares(gradients_at(camps(4, 4, within, between)))
    assert np.allclose(weights, 1 / 8)


def test_where_nobody_agrees_with_anybody_all_count_alike() -> None:
    assert np.allclose(shares(gradients_at(alike(4, -0.2))), 1 / 4)


def test_a_zero_gradient_takes_no_part() -> None:
    gradients = gradients_at(alike(4, 0.3))
    gradients[2] = 0
    weights = agreement(gradients @ gradients.T, 0).weights
    assert np.allclose(weights, [1 / 3, 1 / 3, 0, 1 / 3])
    assert np.array_equal(agreement(np.zeros((3, 3)), 0).weights, np.zeros(3))


def test_one_in_the_middle_of_others_that_share_nothing_settles() -> None:
    """The plain iteration would go to and fro: all to the middle, all to the others."""
    cosines = np.eye(5)
    cosines[0, 1:] = cosines[1:, 0] = 0.4
    assert np.allclose(shares(gradients_at(cosines)), [1 / 3] + [1 / 6] * 4)


@pytest.mark.timing
def test_two_hundred_languages_cost_milliseconds() -> None:
    gradients = conflicting_gradients(200, 400, seed=5)
    gram = gradients @ gradients.T
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        agreement(gram, 0)
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 0.05
