"""Weights on a fake device that are moved to the host and back, while memory is short on either side.

    python -m support.far_weights

Prints a JSON object: by case, what it raised and where the weights are after it. A process of its own, because of the
fake device.
"""

import json
from collections.abc import Callable
from typing import Any

import torch
from congrad_worker.serving.weights import offload, put_back
from torch import Tensor

from support import fake_device

WEIGHTS = 3


class Weight:
    """A parameter, in so far as it has data that can be exchanged: PyTorch lets those of a real one be on devices that
    are written in C++ only."""

    def __init__(self, data: Tensor):
        self.data = data

    @property
    def device(self) -> torch.device:
        return self.data.device


class Model:
    """Has such weights."""

    def __init__(self, device: torch.device):
        self.weights = [Weight(torch.full((2,), float(number)).to(device)) for number in range(WEIGHTS)]

    def parameters(self) -> list[Weight]:
        return self.weights

    def buffers(self) -> list[Weight]:
        return []

    def told(self) -> list[Any]:
        """Where each weight is, and its first number."""
        return [[weight.device.type, float(weight.data.cpu()[0])] for weight in self.weights]


def short_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which has no memory once it was called so often."""
    done = 0

    def called(*args: Any, **options: Any) -> Any:
        nonlocal done
        done += 1
        if done > calls:
            raise torch.OutOfMemoryError("out of memory")
        return function(*args, **options)

    return called


def kept(model: Model) -> list[Tensor]:
    return [weight.data for weight in model.weights]


def has(model: Model, data: list[Tensor]) -> bool:
    """Whether its weights are those very tensors, and not copies."""
    return all(a is b or a.data_ptr() == b.data_ptr() for a, b in zip(kept(model), data, strict=True))


def no_room_on_the_host(device: torch.device) -> list[Any]:
    model, real = Model(device), torch.empty_like
    before = kept(model)
    torch.empty_like = short_after(1, real)
    try:
        offload([model])  # type: ignore[list-item] # see `Weight`
    except torch.OutOfMemoryError:
        return [model.told(), all(a is b for a, b in zip(kept(model), before, strict=True))]
    finally:
        torch.empty_like = real
    raise AssertionError


def no_room_on_the_device(device: torch.device) -> list[Any]:
    model, real = Model(device), Tensor.to
    places = offload([model])  # type: ignore[list-item]
    before = kept(model)
    Tensor.to = short_after(1, real)  # type: ignore[method-assign]
    try:
        with put_back(places):
            raise AssertionError
    except torch.OutOfMemoryError:
        return [model.told(), has(model, before)]
    finally:
        Tensor.to = real  # type: ignore[method-assign]


def failure_afterwards(device: torch.device) -> list[Any]:
    model = Model(device)
    places = offload([model])  # type: ignore[list-item]
    before = kept(model)
    try:
        with put_back(places):
            assert {weight.device for weight in model.weights} == {device}
            raise torch.OutOfMemoryError("the engine does not fit")
    except torch.OutOfMemoryError:
        return [model.told(), has(model, before)]


def no_failure(device: torch.device) -> list[Any]:
    model = Model(device)
    with put_back(offload([model])):  # type: ignore[list-item]
        pass
    return [model.told(), True]


if __name__ == "__main__":
    device = fake_device.register()
    cases = (no_room_on_the_host, no_room_on_the_device, failure_afterwards, no_failure)
    print(json.dumps({case.__name__: case(device) for case in cases}))
