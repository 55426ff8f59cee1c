"""What a device's errors mean, whatever part of PyTorch they come from."""

from collections.abc import Collection

import torch

NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "HIP error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Where memory was short outside PyTorch's own allocator of a GPU: that has an error class, these have a text."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may do what this error kept from being done."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY)
    )


def are_lost(devices: Collection[torch.device]) -> bool:
    """Whether any of the devices can compute nothing any more in this process.

    An assertion or an illegal access on a GPU ends its context: every later call raises that error again, whatever it
    asks for, and only another process gets a new one.
    """
    try:
        for device in devices:
            torch.ones(1, device=device).add_(1).item()
    except RuntimeError as error:
        return not is_out_of_memory(error)
    return False
