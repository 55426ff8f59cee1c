"""Where weights are while nobody needs them, and memory that is given back."""

import ctypes
import gc
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

Places = list[tuple[Tensor, torch.device]]
"""Tensors that were moved to the host, and where they were."""


def offload(models: Iterable[nn.Module]) -> Places:
    """Moves the parameters and buffers of models to the host, into memory that a device copies from at full speed.
    What is there already stays; where the host has no room, all of it does.

    :raises RuntimeError: the host has none, or none that may be pinned.
    """
    tensors = {id(one): one for model in models for one in (*model.parameters(), *model.buffers())}
    places = [(tensor, tensor.device) for tensor in tensors.values() if tensor.device.type != "cpu"]
    with _undone_on_failure(places):
        for tensor, device in places:
            host = torch.empty_like(tensor.data, device="cpu", pin_memory=device.type == "cuda")
            tensor.data = host.copy_(tensor.data)
    return places


@contextmanager
def put_back(places: Places) -> Iterator[None]:
    """Undoes `offload` for the block and what comes after it. Where a device has no room, or the block fails, all is on
    the host again.

    :raises torch.OutOfMemoryError: a device has none.
    """
    with _undone_on_failure(places):
        for tensor, device in places:
            tensor.data = tensor.data.to(device)
        yield


@contextmanager
def _undone_on_failure(places: Places) -> Iterator[None]:
    """Tensors have the data again that they had. It is kept until then: to copy it back could fail as well."""
    before = [(tensor, tensor.data) for tensor, _ in places]
    try:
        yield
    except BaseException:
        for tensor, data in before:
            tensor.data = data
        raise


@contextmanager
def given_back_on_failure() -> Iterator[None]:
    """What the block has made before it failed takes up no memory by the time that the error is raised."""
    try:
        yield
    except BaseException as error:
        let_go(error)
        with suppress(RuntimeError):  # a device that is lost; the error of the block says more
            give_memory_back()
        raise


def let_go(error: BaseException) -> None:
    """Has the functions that an error has passed through hold nothing any more: all their tensors would be alive for as
    long as it is. Where it was raised can be read as before."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # an error may be its own cause
        seen.add(id(cause))
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def drop(models: Iterable[nn.Module]) -> None:
    """Takes all weights out of models that nobody will use again, whoever still holds these."""
    for model in models:
        for module in model.modules():
            module._parameters.clear()
            module._buffers.clear()


def give_memory_back() -> None:
    """Gives what is free back to the device and to the system, which would both count it as taken."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for device in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(device):  # a call for any other would take up memory there
                torch.cuda.synchronize(device)
        clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)  # some 40 MB that nothing else would free
        if clear is not None:
            clear()
        torch.cuda.empty_cache()
        give_host_memory_back()
    with suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def give_host_memory_back() -> None:
    """Gives pinned memory of the host back that is free. PyTorch keeps it otherwise, in blocks of powers of two: up to
    twice what was offloaded."""
    empty = getattr(torch.accelerator, "empty_host_cache", None)  # early releases have none
    if empty is not None and torch.cuda.is_initialized():  # type: ignore[no-untyped-call] # there is none without
        empty()
