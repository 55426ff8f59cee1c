"""How much memory a worker takes up, how it is given out, and how much of it Python's collector looks through."""

import gc
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress

import psutil  # type: ignore[import-untyped] # two calls are not worth a package of stubs
from congrad.contract import wire

ALLOCATOR_SETTINGS = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Where PyTorch looks, when it is imported. The first is before the others, which are its earlier names."""


def let_blocks_grow(environment: MutableMapping[str, str]) -> None:
    """Has PyTorch, which is not imported yet, make blocks of a GPU's memory that may grow: batches are of many sizes,
    and blocks that cannot are left over. What was set, under whichever name, stays what counts."""
    if not any(name in environment for name in ALLOCATOR_SETTINGS):
        environment[ALLOCATOR_SETTINGS[0]] = "expandable_segments:True"


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


@contextmanager
def uncollected() -> Iterator[None]:
    """Has Python's collector of cycles not run in the block, and leave alone for good what is there at its end.

    The imports of torch and transformers make a million objects that stay. It would look through them again and again:
    a fifth of the time that the imports take, and a pause whenever much has been made since.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
