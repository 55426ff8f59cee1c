"""Whether quantised layers can be differentiated: an adapter's gradient goes through the base beneath it.

A kernel may have no backward pass, or round what it multiplies and so have none that means anything. Autograd then
lacks the same part as hooks do, and comparing the two finds nothing.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.modules import decoder_blocks

TOKENS = 4
TOLERANCE = 0.05
"""Of layers that quantise their inputs too, whose products are themselves that far from linear."""


def undifferentiable(engine: GradientEngine) -> str:
    """What keeps the gradient from going through the model's layers; '' where nothing does."""
    generator = torch.Generator().manual_seed(0)
    for module in _kernels(engine):
        inputs = torch.randn((TOKENS, _sizes(module)[0]), generator=generator)
        some = torch.rand(inputs.shape, generator=generator) < 0.5
        place = _device(module), engine.checkpoint.dtype
        if reason := _why_not(module, inputs.to(*place), (inputs * some).to(*place)):
            return f"{type(module).__name__} {reason}"
    return ""


def _kernels(engine: GradientEngine) -> Iterator[nn.Module]:
    """One layer of each kind and size that is linear and no plain layer of PyTorch's, in the decoder's blocks."""
    found: dict[tuple[type, int, int], nn.Module] = {}
    for blocks in decoder_blocks(engine.checkpoint.model).values():
        for module in blocks.modules():
            if _is_kernel(module):
                found.setdefault((type(module), *_sizes(module)), module)
    yield from found.values()


def _is_kernel(module: nn.Module) -> bool:
    if not hasattr(module, "in_features") or not hasattr(module, "out_features") or hasattr(module, "base_layer"):
        return False
    weight = getattr(module, "weight", None)
    # A tensor of another class has kernels of its own under a plain layer.
    is_plain = weight is not None and type(weight.data) is Tensor and weight.is_floating_point()
    return not (is_plain and (type(module) is nn.Linear or isinstance(module, Conv1D)))


def _sizes(module: Any) -> tuple[int, int]:
    return int(module.in_features), int(module.out_features)


def _device(module: nn.Module) -> torch.device:
    return next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))


def _why_not(module: nn.Module, inputs: Tensor, others: Tensor) -> str:
    r"""A linear layer's derivative J is the layer: :math:`\langle J^\top y(x), x'\rangle = \langle y(x), y(x')\rangle`.

    :param others: are like ``inputs`` where they are not zero, so that neither side is near zero.
    """
    bias = getattr(module, "bias", None)
    inputs.requires_grad_()
    with torch.enable_grad():
        try:
            outputs = module(inputs)
        except Exception:  # a layer that is given something else by its model: whether it works, that shows
            return ""
        if not isinstance(outputs, Tensor):  # a router that does more than a product
            return ""
        if not outputs.requires_grad:
            return "has no backward pass"
        product = (outputs if bias is None else outputs - bias).detach()
        try:
            (gradient,) = torch.autograd.grad(outputs, inputs, product)
        except Exception as error:  # whatever a kernel has instead of a backward pass
            return f"has no backward pass: {type(error).__name__}: {error}"
    with torch.no_grad():
        other_product = module(others) if bias is None else module(others) - bias
    expected, found = (product.float() * other_product.float()).sum(), (gradient.float() * others.float()).sum()
    off = float((found - expected).abs() / expected.abs())
    return "" if off <= TOLERANCE else f"has a backward pass that is {off:.0%} off"
