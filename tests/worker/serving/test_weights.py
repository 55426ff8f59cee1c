"""Weights go to the host and come back as a whole or not at all, and memory that is free is given back."""

import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from congrad_worker.serving import weights
from congrad_worker.serving.weights import given_back_on_failure

TESTS = Path(__file__).parents[2]

ON_THE_DEVICE = [["fake", 0.0], ["fake", 1.0], ["fake", 2.0]]
ON_THE_HOST = [["cpu", 0.0], ["cpu", 1.0], ["cpu", 2.0]]


def test_weights_are_moved_as_a_whole_or_stay_the_very_tensors_that_they_were() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.far_weights"],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "no_room_on_the_host": [ON_THE_DEVICE, True],
        "no_room_on_the_device": [ON_THE_HOST, True],
        "failure_afterwards": [ON_THE_HOST, True],
        "no_failure": [ON_THE_DEVICE, True],
    }


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected_by_hand")
def test_what_has_failed_is_gone_by_the_time_that_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    alive: list[bool] = []
    monkeypatch.setattr(weights, "give_memory_back", lambda: alive.append(made[0]() is not None))

    def load() -> None:
        tensor = torch.zeros(3)
        made.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("out of memory")

    def explained() -> None:
        try:
            load()
        except torch.OutOfMemoryError as error:
            raise ValueError("cannot be loaded") from error

    with pytest.raises(ValueError, match="cannot be loaded"), given_back_on_failure():
        explained()
    assert alive == [False]


class Cuda:
    """Stands in for `torch.cuda` with two GPUs, of which this process uses the second."""

    def __init__(self) -> None:
        self.synchronised: list[int] = []
        self.emptied: list[str] = []

    def take_the_place_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**20 * device)
        monkeypatch.setattr(torch.cuda, "synchronize", self.synchronised.append)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: self.emptied.append("device"))
        monkeypatch.setattr(torch.accelerator, "empty_host_cache", lambda: self.emptied.append("host"))
        monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)


def test_memory_is_given_back_without_a_call_to_a_gpu_of_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda()
    cuda.take_the_place_of(monkeypatch)
    weights.give_memory_back()
    assert cuda.synchronised == [1]


def test_pinned_memory_of_the_host_is_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda()
    cuda.take_the_place_of(monkeypatch)
    weights.give_memory_back()
    assert cuda.emptied == ["device", "host"]


def test_an_error_that_is_its_own_cause_is_let_go_too() -> None:
    error = RuntimeError("no room")
    error.__cause__ = error
    weights.let_go(error)
