"""Which device a checkpoint is loaded onto, and what is said where that is another than one would think."""

import logging
from pathlib import Path

import pytest
import torch
from congrad_worker.checkpoints import checkpoint
from congrad_worker.checkpoints.checkpoint import resolve_device
from congrad_worker.errors import CheckpointError

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a usable GPU")


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has this machine seem to have a GPU, which PyTorch cannot use."""
    file = tmp_path / "nvidia0"
    file.touch()
    monkeypatch.setattr(checkpoint, "NVIDIA", (file,))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return file


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("asked", ["auto", "all"])
def test_the_cpu_in_place_of_a_gpu_that_is_there_is_said_with_the_reason(
    asked: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert resolve_device(asked) == torch.device("cpu")
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    reason = "Torch not compiled with CUDA enabled" if torch.version.cuda is None else "NVIDIA"
    assert f"CONGRAD_DEVICE={asked} is the CPU" in said.message
    assert reason in said.message.rpartition("GPU: ")[2]


@pytest.mark.parametrize("why", ["there is none", "it is hidden"])
def test_the_cpu_where_no_gpu_is_to_be_seen_is_no_news(
    why: str, gpu: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if why == "there is none":
        gpu.unlink()
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resolve_device("auto") == torch.device("cpu")
    assert not caplog.messages


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error_with_the_reason() -> None:
    with pytest.raises(CheckpointError, match=r"CONGRAD_DEVICE=cuda: .*(CUDA|NVIDIA)"):
        resolve_device("cuda")
