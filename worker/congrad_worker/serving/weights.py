"""Where weights are while nobody needs them, and memory that is given back."""

import ctypes
import gc
from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor, nn

Places = list[tuple[Tensor, torch.device]]
"""Tensors that were moved to the host, and where they were."""


def offload(models: Iterable[nn.Module]) -> Places:
    """Moves the parameters and buffers of models to the host, into memory that a device copies from at full speed.
    What is there already stays."""
    places: Places = []
    tensors = {id(one): one for model in models for one in (*model.parameters(), *model.buffers())}
    for tensor in tensors.values():
        if tensor.device.type == "cpu":
            continue
        host = torch.empty_like(tensor.data, device="cpu", pin_memory=tensor.device.type == "cuda")
        places.append((tensor, tensor.device))
        tensor.data = host.copy_(tensor.data)
    return places


def put_back(places: Places) -> None:
    """Undoes `offload`. Where a device has no room, what was moved goes back to the host.

    :raises torch.OutOfMemoryError: it has none.
    """
    moved: Places = []
    try:
        for tensor, device in places:
            host = tensor.data
            tensor.data = host.to(device)
            moved.append((tensor, host.device))
    except RuntimeError:
        for tensor, device in moved:
            tensor.data = tensor.data.to(device)
        raise


def give_memory_back() -> None:
    """Gives what is free back to the device and to the system, which would both count it as taken."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)  # some 40 MB that nothing else would free
        if clear is not None:
            clear()
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
