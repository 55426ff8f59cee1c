"""How much memory a worker takes up."""

from contextlib import suppress

import psutil  # type: ignore[import-untyped] # two calls are not worth a package of stubs
from congrad.contract import wire


def memory_of(device: str | None) -> wire.Memory | None:
    """The memory of a CUDA device; that of this process, where it computes on the CPU. None where that is not told."""
    with suppress(OSError, RuntimeError, psutil.Error):  # no reason to fall silent
        if device is not None and device.startswith("cuda"):
            return _of_gpu(device)
        resident = psutil.Process().memory_info().rss
        return wire.Memory(allocated_bytes=resident, total_bytes=psutil.virtual_memory().total)
    return None


def _of_gpu(device: str) -> wire.Memory:
    import torch  # a decide worker gets by without

    total = torch.cuda.get_device_properties(device).total_memory
    return wire.Memory(allocated_bytes=torch.cuda.memory_allocated(device), total_bytes=total)
