"""What PyTorch's allocator of a GPU's memory is told, before torch is imported and reads it."""

from collections.abc import MutableMapping

NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Where it looks. The first is before the others, which are its earlier names."""


def let_blocks_grow(environment: MutableMapping[str, str]) -> None:
    """Batches are of many sizes, and blocks of memory that cannot grow are left over. What was set, under whichever
    name, stays what counts."""
    if not any(name in environment for name in NAMES):
        environment[NAMES[0]] = "expandable_segments:True"
