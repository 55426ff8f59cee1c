"""A second device where there is none: tensors on `fake:0` are kept on the CPU, and never meet those of the CPU.

PyTorch lets a backend be written in Python. Here every operation is the CPU's, after a look at where its arguments are:
to mix devices is an error, as it is between two GPUs. It stays for as long as the process runs, and libraries take it
for an accelerator, so it is for processes of their own.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

MOVES = ("aten::_to_copy", "aten::copy_")
"""The operations that take a tensor from one device to another."""


class _Backend:
    """What PyTorch asks of the module of a device."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass


class Elsewhere(Tensor):
    """A tensor on the fake device, and the one on the CPU that has its numbers."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> "Elsewhere":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=torch.device("fake", 0),
        )
        made.numbers = numbers
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override] # PyTorch leaves out the first
        return _run(func, *args, **(kwargs or {}))


def _run(function: Any, *args: Any, **options: Any) -> Any:
    """An operation of the CPU on what is elsewhere."""
    name = function.name().partition(".")[0]
    tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
    elsewhere = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    if name not in MOVES and elsewhere and any(t.dim() > 0 for t in tensors if not isinstance(t, Elsewhere)):
        raise RuntimeError(f"{name}: tensors on two devices, fake:0 and cpu")
    device = args[0].device if name == "aten::copy_" else torch.device(options.get("device") or "fake:0")
    if options.get("device") is not None:
        options["device"] = torch.device("cpu")
    args, options = tree_map(lambda leaf: leaf.numbers if isinstance(leaf, Elsewhere) else leaf, (args, options))
    made = function(*args, **options)
    if device.type == "cpu":
        return made
    known = {id(tensor.numbers): tensor for tensor in elsewhere}  # what is changed in place stays itself

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return known[id(leaf)] if id(leaf) in known else Elsewhere(leaf)

    return tree_map(wrapped, made)


def register() -> torch.device:
    """Makes the device known to this process; its name."""
    _setup_privateuseone_for_python_backend("fake", backend_module=_Backend())
    library = torch.library.Library("_", "IMPL")
    library.fallback(_run, "PrivateUse1")
    _kept.append(library)
    return torch.device("fake", 0)


_kept: list[Any] = []
"""What would be undone if nobody held it."""
