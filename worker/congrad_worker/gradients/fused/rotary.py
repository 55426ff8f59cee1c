r"""Rotary positions in three operations for each of queries and keys, and as many backward, where the function that
most of transformers' models have a copy of takes five and eight: with both halves of a head,

.. math:: (x_1, x_2) \mapsto (c_1 x_1 - s_1 x_2,\; c_2 x_2 + s_2 x_1).

Its transpose, which gradients go through, is the same with the sines exchanged and of the other sign. On a GPU it is
one kernel for both, where Liger-Kernel is installed.
"""

import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from congrad_worker.checkpoints.adapters import Model, base_model
from congrad_worker.gradients.fused import liger
from congrad_worker.gradients.fused.likeness import are_alike, drawn
from congrad_worker.gradients.modules import decoder_blocks

NAME = "apply_rotary_pos_emb"
PARAMETERS = ("q", "k", "cos", "sin", "unsqueeze_dim")
"""What the function is called in the modules that have a copy, and what it is given."""

HEADS, KEY_HEADS, TOKENS, SIZE = 4, 2, 3, 16


class Rotary:
    """Does what ``own`` does."""

    def __init__(self, own: Any):
        self.own = own

    def __call__(self, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        """The names are those of transformers: whoever calls may use them.

        :param q: ``[rows, heads, tokens, d]``; with ``unsqueeze_dim`` 2, heads come after tokens. Keys may have fewer.
        :param cos: ``[rows, tokens, d]``, rows perhaps 1.
        """
        is_plain = cos.shape[-1] == q.shape[-1] and q.dtype == k.dtype == cos.dtype == sin.dtype
        if not is_plain:
            rotated: tuple[Tensor, Tensor] = self.own(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
            return rotated
        kernels = liger.kernels(q.device)
        if kernels is not None and unsqueeze_dim == 1 and cos.ndim == 3:
            return kernels.rotary(q, k, cos, sin)
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return _Rotation.apply(q, cos, sin), _Rotation.apply(k, cos, sin)


def rotaries(model: Model) -> Iterator[tuple[ModuleType, Rotary]]:
    """The Python modules that the layers of ``model`` find that function in, with what computes the same."""
    names = {type(module).__module__ for blocks in decoder_blocks(model).values() for module in blocks.modules()}
    weight: Tensor = base_model(model).get_input_embeddings().weight  # type: ignore[assignment]
    for name in sorted(names):
        own = getattr(sys.modules[name], NAME, None)
        if own is not None and tuple(inspect.signature(own).parameters) == PARAMETERS and _is(own, weight):
            yield sys.modules[name], Rotary(own)


def _is(own: Any, like: Tensor) -> bool:
    if like.device.type == "meta":
        return True
    shapes = ((1, heads, TOKENS, SIZE) for heads in (HEADS, KEY_HEADS))
    inputs = [drawn(shape, like, seed) for seed, shape in enumerate(shapes)]
    angles = drawn((1, TOKENS, SIZE // 2), like, seed=2).repeat(1, 1, 2)
    return are_alike(own, Rotary(own), inputs, [angles.cos(), angles.sin()])


class _Rotation(torch.autograd.Function):
    """Of one tensor; see the module's docstring."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        first_sin, second_sin = sin.chunk(2, -1)
        return _rotated(vectors, cos, first_sin, second_sin, sign=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        first_sin, second_sin = sin.chunk(2, -1)
        return _rotated(gradient, cos, second_sin, first_sin, sign=-1), None, None


def _rotated(vectors: Tensor, cos: Tensor, first_sin: Tensor, second_sin: Tensor, sign: int) -> Tensor:
    rotated = vectors * cos
    (first, second), (to_first, to_second) = vectors.chunk(2, -1), rotated.chunk(2, -1)
    to_first.addcmul_(second, first_sin, value=-sign)
    to_second.addcmul_(first, second_sin, value=sign)
    return rotated
