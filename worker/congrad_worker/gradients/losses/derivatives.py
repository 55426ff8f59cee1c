"""How a loss reaches the model: its derivatives in the log-probabilities of completions, apart from their size."""

from collections.abc import Callable

import torch
from torch import Tensor

from congrad_worker.gradients.losses.preference import PairLogps


def divided_derivatives(
    loss: Callable[[PairLogps, PairLogps], Tensor], policy: PairLogps, reference: PairLogps, ties: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """The derivatives of each pair's loss in all ``policy.sides``, divided by the largest of them: float32 ``[pairs]``
    each; and what they were divided by, float64 ``[pairs]``, 1 where there is nothing to divide.

    Of a pair that is learnt derivatives are tiny, and gradients that came of them would be too small for half
    precision. They are taken in float64: float32's exponents end at 1e-38, and σ(-βΔ) is there at βΔ = 87.

    :param ties: pairs whose sides are one completion, bool ``[pairs]``; None if there are none. Its derivative is the
        sum of theirs, which the first has; the gradients of two sides that all but cancel would be rounding.
    """
    wide = policy.doubles()
    derivatives, sizes = _divided(loss(wide, reference.doubles()), wide.sides, ties)
    return [derivative.float() for derivative in derivatives], torch.where(sizes > 0, sizes, 1.0)


def _divided(losses: Tensor, sides: tuple[Tensor, ...], ties: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """Derivatives divided by the largest of each pair's, which may be 0; and these."""
    found = torch.autograd.grad(losses.sum(), sides, allow_unused=True, materialize_grads=True)
    derivatives = list(found)
    if ties is not None:
        derivatives = [torch.where(ties, 0.0, derivative) for derivative in found]
        derivatives[0] = torch.where(ties, torch.stack(found).sum(0), found[0])
    largest = torch.stack(derivatives).abs().amax(0)
    return [derivative / torch.where(largest > 0, largest, 1.0) for derivative in derivatives], largest
