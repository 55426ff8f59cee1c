"""Memory of a function in one process; needs torch alone, so that a peer's process can use it too."""

import gc
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

METHODS = {
    "cuda": "torch.cuda.max_memory_allocated",
    "cpu": "allocations and releases of torch's CPU allocator, as its profiler records them in a pass that is not "
    "timed (scratch memory inside of the matrix library is not seen)",
}


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """The most that ``function`` holds at once, beyond what was there before."""
    gc.collect()
    return _peak_on_cuda(function) if device.type == "cuda" else _peak_on_cpu(function)


def _peak_on_cuda(function: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _peak_on_cpu(function: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        function()
    assert recorded.profiler is not None
    results = recorded.profiler.kineto_results
    assert results is not None
    changes = sorted((event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak


def live_bytes() -> int:
    """What all tensors hold that Python can reach: parameters, projections, caches."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        # Not isinstance: it runs code of lazy objects that have nothing to do with tensors.
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())
