"""Surgery: TorchJD's for a given order, and free of orders and names on the average."""

from collections.abc import Iterator
from typing import get_args
from unittest.mock import patch

import numpy as np
import pytest
import torch
from congrad.contract.aggregators import AggregatorName
from congrad_worker.decisions.aggregation.aggregators import OWN, TORCHJD, aggregator
from congrad_worker.decisions.aggregation.surgery import mean, pcgrad, project_conflicts
from congrad_worker.errors import WorkerError
from support.properties import conflicting_gradients, cosine
from support.scoring import explicit_pcgrad
from torchjd.aggregation import MGDA, PCGradWeighting, UPGrad


def gram_of(gradients: np.ndarray) -> np.ndarray:
    product: np.ndarray = gradients @ gradients.T
    return product


def in_one_order(gram: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The coefficients of all languages where each meets the others in the same order."""
    count = len(gram)
    others = np.stack([order[order != language] for language in range(count)], axis=1)
    coefficients: np.ndarray = np.eye(count) + project_conflicts(gram, np.arange(count), others)
    return coefficients


@pytest.mark.parametrize("seed", range(5))
def test_one_order_gives_what_torchjd_gives(seed: int) -> None:
    gram = gram_of(conflicting_gradients(7, 30, seed))
    order = np.random.default_rng(seed).permutation(7)

    def given(_: int) -> Iterator[int]:
        return torch.from_numpy(order)  # type: ignore[return-value]

    with patch("torch.randperm", given):
        theirs = PCGradWeighting()(torch.from_numpy(gram)).numpy()  # the sum over languages
    ours = in_one_order(gram, order).sum(0)
    assert np.allclose(ours, theirs, atol=1e-12)
    assert not np.allclose(ours, np.ones(7), atol=1e-2), "there was no conflict to resolve"


@pytest.mark.parametrize("languages", [2, 3, 6])
def test_few_languages_take_every_order(languages: int) -> None:
    gradients = conflicting_gradients(languages, 20, seed=1)
    direction, weights = explicit_pcgrad(gradients)
    surgery = pcgrad(gram_of(gradients), seed=0)
    assert np.allclose(surgery.weights, weights, atol=1e-12)
    assert np.allclose(surgery.weights @ gradients, direction, atol=1e-12)


@pytest.mark.parametrize("strength", [0.2, 0.6, 1.5])
def test_names_and_positions_of_languages_have_no_say(strength: float) -> None:
    gradients = conflicting_gradients(12, 200, seed=2, strength=strength)
    direction = pcgrad(gram_of(gradients), seed=0).weights @ gradients
    for seed in range(5):
        shuffled = gradients[np.random.default_rng(seed).permutation(12)]
        again = pcgrad(gram_of(shuffled), seed=0).weights @ shuffled
        assert cosine(direction, again) >= 0.999999


def test_another_seed_changes_the_direction_only_little() -> None:
    gradients = conflicting_gradients(12, 200, seed=3)
    first, second = (pcgrad(gram_of(gradients), seed=seed).weights @ gradients for seed in (0, 1))
    assert cosine(first, second) >= 0.9999
    # One order each would not do: this is what averaging is for.
    one, other = (
        in_one_order(gram_of(gradients), np.random.default_rng(seed).permutation(12)).mean(0) @ gradients
        for seed in (0, 1)
    )
    assert cosine(one, other) < cosine(first, second)


def test_the_same_seed_gives_the_same_bits() -> None:
    gram = gram_of(conflicting_gradients(9, 50, seed=4))
    assert np.array_equal(pcgrad(gram, seed=5).weights, pcgrad(gram, seed=5).weights)


def test_without_conflict_the_direction_is_the_mean() -> None:
    gram = gram_of(np.abs(conflicting_gradients(8, 20, seed=5)))
    assert np.array_equal(pcgrad(gram, seed=0).weights, mean(gram, 0).weights)


def test_a_zero_gradient_takes_no_part() -> None:
    gradients = conflicting_gradients(4, 20, seed=6)
    gradients[2] = 0
    surgery = pcgrad(gram_of(gradients), seed=0)
    rest = pcgrad(gram_of(np.delete(gradients, 2, axis=0)), seed=0)
    assert np.isfinite(surgery.weights).all()
    assert np.allclose(np.delete(surgery.weights, 2) * 4, rest.weights * 3)


@pytest.mark.parametrize("name", TORCHJD)
def test_torchjd_weightings_work_by_name(name: str) -> None:
    gradients = conflicting_gradients(4, 20, seed=7)
    surgery = aggregator(name)(gram_of(gradients), 0)
    assert surgery.weights.shape == (4,)
    assert np.isfinite(surgery.weights).all()


@pytest.mark.parametrize(("name", "whole"), [("upgrad", UPGrad()), ("mgda", MGDA())])
def test_torchjd_weightings_give_its_directions(name: str, whole: torch.nn.Module) -> None:
    gradients = conflicting_gradients(4, 20, seed=7)
    direction = aggregator(name)(gram_of(gradients), 0).weights @ gradients
    assert np.allclose(direction, whole(torch.from_numpy(gradients)).numpy(), atol=1e-6)


@pytest.mark.parametrize("name", [*OWN, *TORCHJD])
@pytest.mark.parametrize("length", [1e-12, 1e-3, 1e6])
def test_how_long_gradients_are_in_all_has_no_say(name: str, length: float) -> None:
    """What a model is sure of has short ones; TorchJD took them for none, and there was no direction."""
    gradients = conflicting_gradients(4, 30, seed=0)
    gradients /= np.linalg.norm(gradients)
    whole = aggregator(name)(gram_of(gradients), 0).weights @ gradients
    scaled = aggregator(name)(gram_of(length * gradients), 0).weights @ gradients
    assert cosine(whole, scaled) == pytest.approx(1, abs=1e-9)


def test_a_request_may_ask_for_every_aggregator_that_there_is() -> None:
    assert get_args(AggregatorName) == (*OWN, *TORCHJD)


def test_an_unknown_aggregator_is_named() -> None:
    with pytest.raises(WorkerError, match="CONGRAD_AGGREGATOR=best: is unknown; known are pcgrad, agreement, mean"):
        aggregator("best")
