"""How Liger-Kernel's kernels are had and launched. A CPU has none: stand-ins say what they are launched on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from congrad_worker.gradients.fused import liger
from congrad_worker.gradients.fused.liger import kernels
from torch import Tensor

GPU = torch.device("cuda", 1)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    liger._installed.cache_clear()
    yield
    liger._installed.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    for name in ("liger_kernel", "liger_kernel.ops"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, function in functions.items():
        monkeypatch.setattr(sys.modules["liger_kernel.ops"], name, function, raising=False)


def test_kernels_are_launched_on_the_device_of_their_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device | None] = [None]
    launched: list[torch.device | None] = []

    @contextmanager
    def device(one: torch.device) -> Iterator[None]:
        current.append(one)
        yield
        current.pop()

    class Kernel:
        @staticmethod
        def apply(*_: Tensor) -> None:
            launched.append(current[-1])

    monkeypatch.setattr(torch.cuda, "device", device)
    installed(monkeypatch, LigerRopeFunction=Kernel, LigerSiLUMulFunction=Kernel)
    found = kernels(GPU)
    assert found is not None
    tensor = torch.zeros(1, device="meta")
    found.rotary(tensor, tensor, tensor, tensor)
    found.silu_product(tensor, tensor)
    assert launched == [tensor.device, tensor.device]


def test_kernels_that_are_installed_and_cannot_be_had_are_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed(monkeypatch)
    assert kernels(GPU) is None
    assert "Liger-Kernel is installed and not used: ImportError" in caplog.text


def test_kernels_that_are_not_installed_are_no_news(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def finder(name: str, *_: object) -> None:
        if name.partition(".")[0] == "liger_kernel":
            raise ModuleNotFoundError(f"No module named {name!r}", name="liger_kernel")

    monkeypatch.setattr(sys, "meta_path", [type("Finder", (), {"find_spec": staticmethod(finder)}), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "liger_kernel", raising=False)
    monkeypatch.delitem(sys.modules, "liger_kernel.ops", raising=False)
    assert kernels(GPU) is None
    assert not caplog.messages
