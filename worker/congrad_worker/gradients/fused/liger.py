"""Kernels of Liger-Kernel, where it is installed: https://github.com/linkedin/Liger-Kernel.

They are for GPUs, and need Triton, which PyTorch brings along for these. Some write into what they are given: what a
layer has put out is not looked at a second time.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

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
    except Exception as error:  # it looks for a device and for Triton, each with errors of its own
        if not isinstance(error, ModuleNotFoundError) or error.name != "liger_kernel":
            log.warning("Liger-Kernel is installed and not used: %s: %s", type(error).__name__, error)
        return None
    return Kernels(_on_its_device(LigerRopeFunction.apply), _on_its_device(LigerSiLUMulFunction.apply))


def _on_its_device(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Triton launches on the current device, wherever the tensors are: on another, that is an illegal access. A
    backward pass has that of its tensors for the current one, as autograd has a thread for each."""

    def launched(first: Tensor, *others: Tensor) -> Any:
        with torch.cuda.device(first.device):
            return kernel(first, *others)

    return launched
