"""Kernels of Liger-Kernel, where it is installed: https://github.com/linkedin/Liger-Kernel.

They are for GPUs, and need Triton, which PyTorch brings along for these. Some write into what they are given: what a
layer has put out is not looked at a second time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

DEVICES = ("cuda",)


@dataclass(frozen=True)
class Kernels:
    """One for each pass, of what is a chain of operations otherwise."""

    rotary: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    """Of queries and keys ``[rows, heads, tokens, d]``, cosines and sines ``[rows, tokens, d]``."""
    silu_product: Callable[[Tensor, Tensor], Tensor]
    """silu(x) ∘ y."""


def kernels(device: torch.device) -> Kernels | None:
    """Those for a device; None where there are none."""
    return _installed() if device.type in DEVICES else None


@cache
def _installed() -> Kernels | None:
    try:
        from liger_kernel.ops import LigerRopeFunction, LigerSiLUMulFunction  # seconds, and only where there is a GPU
    except ImportError:
        return None
    return Kernels(LigerRopeFunction.apply, LigerSiLUMulFunction.apply)
