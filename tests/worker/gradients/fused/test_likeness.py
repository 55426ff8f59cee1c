"""Two functions are compared, and why one of them could not be computed is said."""

import subprocess

import pytest
import torch
from congrad_worker.gradients.fused.likeness import are_alike
from torch import Tensor

INPUTS = [torch.arange(1.0, 4.0)]


def doubled(numbers: Tensor) -> Tensor:
    return numbers * 2


def test_what_has_other_gradients_is_not_alike() -> None:
    assert are_alike(doubled, lambda numbers: numbers + numbers, INPUTS)
    assert not are_alike(doubled, lambda numbers: numbers + numbers.detach(), INPUTS)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no C compiler"), subprocess.CalledProcessError(1, "gcc")],
    ids=["no compiler", "it fails"],
)
def test_a_kernel_that_cannot_be_compiled_is_left_out_and_said_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def kernel(_: Tensor) -> Tensor:
        raise error

    assert not are_alike(doubled, kernel, INPUTS)
    assert not are_alike(doubled, kernel, INPUTS)
    assert caplog.messages == [f"a model computes by itself what could be fused: {type(error).__name__}: {error}"]


def test_a_function_of_a_model_that_takes_other_shapes_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    assert not are_alike(lambda numbers: numbers.reshape(2, 2), doubled, INPUTS)
    assert not caplog.messages
