"""Whether two functions compute the same."""

import logging
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
HALF_TOLERANCE = 0.01
"""Relative differences that are rounding once instead of several times."""

DIRECTIONS = 1000
"""The first seed of directions that outputs are differentiated in."""

Function = Callable[..., Tensor | tuple[Tensor, ...]]


def are_alike(own: Function, other: Function, inputs: Sequence[Tensor], constants: Sequence[Tensor] = ()) -> bool:
    """Whether the outputs of two functions, and the gradients of their ``inputs``, are the same but for rounding. Where
    the ``other`` cannot be computed, the log says why."""
    try:
        expected = _forward_and_backward(own, inputs, constants)
    except RuntimeError:  # takes what has other shapes
        return False
    try:
        found = _forward_and_backward(other, inputs, constants)
    except Exception as error:  # a kernel is compiled first, by a compiler that may be missing
        _say_once(f"{type(error).__name__}: {error}")
        return False
    if len(found) != len(expected):
        return False
    tolerance = TOLERANCE.get(inputs[0].dtype, HALF_TOLERANCE)
    pairs = zip(found, expected, strict=True)
    return all(a.shape == b.shape and float((a - b).norm()) <= tolerance * float(b.norm()) for a, b in pairs)


@cache
def _say_once(reason: str) -> None:
    """Layers are many, and have the same reason."""
    log.warning("a model computes by itself what could be fused: %s", reason)


def drawn(shape: Sequence[int], like: Tensor, seed: int) -> Tensor:
    """Random numbers on the device and in the dtype of another tensor."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator).to(like.device, like.dtype)


def _forward_and_backward(function: Function, inputs: Sequence[Tensor], constants: Sequence[Tensor]) -> list[Tensor]:
    with torch.enable_grad():
        # Kernels may write into what they are given, which is then no leaf either.
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        given = function(*(leaf * 1 for leaf in leaves), *constants)
        outputs = [given] if isinstance(given, Tensor) else list(given)
        # Not those that inputs are drawn by: along its input a norm has no gradient, and rounding would be compared.
        directions = [drawn(output.shape, output, seed) for seed, output in enumerate(outputs, DIRECTIONS)]
        kept = [output.detach().float() for output in outputs]
        gradients = torch.autograd.grad(outputs, leaves, directions)
    return kept + [gradient.float() for gradient in gradients]
