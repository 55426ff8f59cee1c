"""RMSNorm as one kernel on a GPU, where transformers' classes have a chain of eight operations forward and more
backward, each of which reads and writes all hidden states.

A class is known by what it computes: on random numbers, forward and backward, with its weight or, as Gemma has it, with
one more than that.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from congrad_worker.checkpoints.adapters import Model

DEVICES = ("cuda", "meta")
"""Devices that have the kernel. On that of shapes alone nothing can be compared, and operations are counted."""

ROWS = 4
TOLERANCE = {torch.float32: 1e-5}
HALF_TOLERANCE = 0.01
"""Relative differences that are rounding once instead of several times."""


def fuse_norms(model: Model) -> int:
    """Gives every RMSNorm of ``model`` on such a device the fused kernel; how many there were."""
    return sum(_fuse(module) for module in model.modules() if type(module).__name__.endswith("RMSNorm"))


def unfuse_norms(model: Model) -> None:
    """Gives them their own operations back. The kernel holds on to the weight that it was given, on its device."""
    for module in model.modules():
        if getattr(vars(module).get("forward"), "func", None) is F.rms_norm:
            del module.forward


def _fuse(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, nn.Parameter) or weight.ndim != 1 or weight.device.type not in DEVICES or epsilon is None:
        return False
    for scale in (weight.detach(), 1 + weight.detach()):
        fused = partial(F.rms_norm, normalized_shape=list(weight.shape), weight=scale, eps=float(epsilon))
        if weight.device.type == "meta" or _are_alike(module, fused, weight):
            module.forward = fused
            return True
    return False


def _are_alike(module: Any, fused: Any, weight: Tensor) -> bool:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(ROWS, weight.shape[0], generator=generator).to(weight.device, weight.dtype) for _ in range(2)]
    own, other = (_forward_and_backward(norm, *drawn) for norm in (module, fused))
    tolerance = TOLERANCE.get(weight.dtype, HALF_TOLERANCE)
    pairs = zip(own, other, strict=True)
    return all(float((a - b).norm()) <= tolerance * float(a.norm()) for a, b in pairs)


def _forward_and_backward(norm: Any, inputs: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        inputs = inputs.clone().requires_grad_()
        outputs = norm(inputs)
        (gradient,) = torch.autograd.grad(outputs, inputs, direction.to(outputs.dtype))
    return outputs.detach().float(), gradient.float()
