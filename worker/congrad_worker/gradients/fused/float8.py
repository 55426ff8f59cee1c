"""Backward passes that multiply with frozen weights in 8 bits, which matrix units of Hopper take twice as fast as 16.

A number is an e4m3 (https://arxiv.org/abs/2209.05433: three bits of mantissa, 448 at most) times a scale of its row in
float32: weights are rounded once, output gradients in each pass. Nothing else is. Forward passes have all their bits:
rounded there, activations alone cost a pretrained model's gradients a tenth of their direction, and backward passes a
hundredth.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from congrad_worker.checkpoints.adapters import Model
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.device import is_out_of_memory
from congrad_worker.gradients.fused.stand_ins import StandIns
from congrad_worker.gradients.modules import ADAPTER_LAYER, decoder_blocks

E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max

ALIGNMENT = 16
"""Matrix units take 16 bytes of a row at once; products of other sizes stay what they are."""


@dataclass(frozen=True)
class Rounded:
    """A matrix in 8 bits: e4m3 ``[rows, columns]``, and what each row counts, float32 ``[rows, 1]``."""

    values: Tensor
    scales: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> "Rounded":
        """The nearest one to a bfloat16 matrix, with the largest number of each row at the end of what e4m3 has."""
        # In bfloat16, which is a thirtieth of e4m3's rounding: float32 would be most of what is read and written here.
        scales = matrix.abs().amax(dim=-1, keepdim=True) / LARGEST
        scales = scales.clamp(min=torch.finfo(matrix.dtype).tiny)  # a row of zeros has one too
        return cls((matrix / scales).to(E4M3), scales.float())

    def product(self, other: "Rounded") -> Tensor:
        """``self @ other.mT``: bfloat16 ``[rows, rows of other]``."""
        by_row = F.ScalingType.RowWise
        found: Tensor = F.scaled_mm(
            self.values, other.values.mT, self.scales, by_row, other.scales.mT, by_row, output_dtype=torch.bfloat16
        )
        return found


class Float8Linear:
    """``x Wᵀ + b`` of a linear layer with a frozen weight, in place of its ``forward``: the same, and backwards in 8
    bits."""

    def __init__(self, module: nn.Linear):
        self._module = module
        self._by_input = Rounded.of(module.weight.detach().mT.contiguous())  # what is summed over is the outputs

    def __call__(self, inputs: Tensor) -> Tensor:
        """:param inputs: bfloat16 ``[..., d_in]``."""
        found: Tensor = _Product.apply(inputs, self._module.weight, self._module.bias, self._by_input)
        return found

    def try_out(self) -> None:
        """:raises RuntimeError: the weight's device has no such products."""
        weight = self._module.weight
        Rounded.of(weight.new_ones(ALIGNMENT, len(weight))).product(self._by_input)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, by_input: Rounded) -> Tensor:
        ctx.by_input = by_input
        # The check of an engine has autograd take the weight's gradient; nobody else does.
        ctx.save_for_backward(inputs if weight.requires_grad else None)
        return F.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        rows = gradient.flatten(0, -2)
        of_inputs = of_weight = None
        if ctx.needs_input_grad[0]:
            of_inputs = Rounded.of(rows).product(ctx.by_input).reshape(*gradient.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            of_weight = rows.mT @ ctx.saved_tensors[0].flatten(0, -2)
        return of_inputs, of_weight, None, None


def float8_products(model: Model) -> StandIns:
    """What stands in for every plain linear layer in the decoder blocks of a model, but for those of an adapter.

    :raises CheckpointError: there is none in bfloat16, or its device has no such products.
    """
    if not hasattr(F, "scaled_mm"):
        raise CheckpointError(f"CONGRAD_FP8: PyTorch {torch.__version__} has no scaled_mm; later ones have")
    found = _layers(model)
    if not found:
        raise CheckpointError("CONGRAD_FP8 is for linear layers in bfloat16, and the checkpoint has none")
    return StandIns((module, "forward", _stand_in(module)) for module in found)


def _layers(model: Model) -> list[nn.Linear]:
    of_blocks = (block.named_modules() for block in decoder_blocks(model).values())
    return [
        module
        for name, module in chain.from_iterable(of_blocks)
        if type(module) is nn.Linear
        and not ADAPTER_LAYER.search(f".{name}.")
        and not hasattr(module, "_hf_hook")  # of accelerate's, which moves its inputs in `forward`
        and module.weight.dtype == torch.bfloat16
        and module.in_features % ALIGNMENT == module.out_features % ALIGNMENT == 0
    ]


_in_use: "WeakValueDictionary[int, Float8Linear]" = WeakValueDictionary()
"""By the module, which each holds on to. Adapters of one base have its weights in common, rounded too."""


def _stand_in(module: nn.Linear) -> Float8Linear:
    device = module.weight.device
    if (known := _in_use.get(id(module))) is not None:
        return known
    try:
        product = Float8Linear(module)
        product.try_out()
    except (RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        said = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"CONGRAD_FP8: {device} has no products of 8 bits by rows: {said}") from error
    _in_use[id(module)] = product
    return product
