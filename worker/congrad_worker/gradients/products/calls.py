"""Products with a module's own parameter that are a call in its forward pass, and not a module of their own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Told: TypeAlias = Callable[[str, Tensor, Tensor], None]
"""Is given the parameter's name, and input and output of a product with it."""


@contextmanager
def products_within(module: nn.Module, parameters: Mapping[str, nn.Parameter], tell: Told) -> Iterator[None]:
    """Tells of every product with ``parameters`` in forward passes of ``module`` inside the block."""
    mode = _Products(parameters, tell)

    def enter(*_: Any) -> None:
        mode.__enter__()

    def leave(*_: Any) -> None:
        mode.__exit__(None, None, None)

    # Recomputed layers are left by an exception.
    handles = module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Products(TorchFunctionMode):
    def __init__(self, parameters: Mapping[str, nn.Parameter], tell: Told):
        self._parameters = parameters
        self._tell = tell

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (F.linear, torch.bmm):
            inputs, weight, *_ = args
            for name, parameter in self._parameters.items():
                # Routers compute in float32, with a copy of their weight.
                if weight is parameter or (weight.dtype != parameter.dtype and weight.shape == parameter.shape):
                    self._tell(name, inputs, result)
        return result
