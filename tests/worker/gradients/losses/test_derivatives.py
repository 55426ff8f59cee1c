"""The derivatives of losses in the scores of completions, against what is known of them, however far these lie."""

import numpy as np
import pytest
import torch
from congrad_worker.gradients.losses.derivatives import divided_derivatives
from congrad_worker.gradients.losses.preference import PairLogps, PreferenceLoss
from congrad_worker.loss_names import Loss
from support.models import DEMO_CHECKPOINT, settings

FAR = [(5, -5), (100, -100), (100, 100.5), (150, -160), (200, -300), (400, -450), (500, 450), (-500, -450), (900, 20)]
"""Scores of chosen and rejected completions, in nats: those of a model that has learnt a pair, or its opposite."""

BETA = 0.1


def found(chosen: float, rejected: float, **options: object) -> np.ndarray:
    """The derivatives in both scores, divided by the larger one, and what that is: float64 ``[3]``."""
    loss = PreferenceLoss(settings(DEMO_CHECKPOINT, beta=BETA, **options))
    sides = [torch.tensor([score - 1000.0]).requires_grad_() for score in (chosen, rejected)]
    policy = PairLogps(sides[0], sides[1])
    reference = PairLogps(torch.tensor([-1000.0]), torch.tensor([-1000.0]))
    divided, size = divided_derivatives(
        lambda own, other: loss(own, other, torch.tensor([[40, 30]])), policy, reference, None
    )
    return np.array([*(float(side) for side in divided), float(size)])


def divided(chosen: float, rejected: float) -> np.ndarray:
    largest = max(abs(chosen), abs(rejected))
    return np.array([chosen / largest, rejected / largest, largest])


def slope(score: float) -> float:
    """That of σ(β·score), which is even: float64 has no other digits of it than these."""
    small = np.exp(-BETA * abs(score))
    return float(BETA * small / (1 + small) ** 2)


@pytest.mark.parametrize(("chosen", "rejected"), FAR)
def test_a_sigmoid_has_its_slope_on_both_sides(chosen: float, rejected: float) -> None:
    """Where σ is nearly 1 it was rounding, and then 0: a pair lost one of its completions, or both."""
    apart = divided(-slope(chosen), slope(rejected))
    np.testing.assert_allclose(found(chosen, rejected, loss="apo_zero"), apart, rtol=1e-5)
    np.testing.assert_allclose(found(chosen, rejected, loss="kto"), apart * [1, 1, 0.5], rtol=1e-5)
    difference = slope(chosen - rejected)
    down = divided(slope(chosen) - difference, difference)
    np.testing.assert_allclose(found(chosen, rejected, loss="apo_down"), down, rtol=1e-5, atol=1e-30)
    logit, share = BETA * (chosen - rejected), 0.001
    exo = difference * (logit - np.log1p(-share) + np.log(share))
    given = {"loss": "exo_pair", "label_smoothing": share}
    np.testing.assert_allclose(found(chosen, rejected, **given), divided(exo, -exo), rtol=1e-5)


@pytest.mark.parametrize("distance", [900, 9000])
def test_discopop_has_a_gradient_of_pairs_that_a_model_has_the_wrong_way_round(distance: float) -> None:
    np.testing.assert_allclose(found(0, distance, loss="discopop"), [-1, 1, BETA], rtol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "lp"])
def test_a_divergence_that_float32_cannot_hold_has_a_gradient(name: Loss) -> None:
    """That of forward KL is e^-s: here e^100 of one completion, and less than 1 of the other."""
    values = found(-100, 5, loss=name, f_divergence_type="forward_kl")
    np.testing.assert_allclose(values, [-1, 0, BETA * np.exp(100)], rtol=1e-6, atol=1e-30)
