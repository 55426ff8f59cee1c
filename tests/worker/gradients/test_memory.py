"""What scoring holds at its peak, and what happens when there is less."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from congrad.contract.wire import Reason
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.direction import Samples
from congrad_worker.gradients.device import is_out_of_memory
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.budget import Budget
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.losses.logps import token_logps
from congrad_worker.gradients.verification import verified_engine
from support.architectures import save_random_model
from support.models import checkpoint, settings
from support.properties import assert_rows_match
from support.scoring import outcome
from torch import Tensor

from benchmarks.memory import peak_bytes

CPU = torch.device("cpu")


def pairs_of(count: int, prompt: int, completion: int) -> list[EncodedPair]:
    ids = np.random.default_rng(0).integers(5, 4000, (count, prompt + 2 * completion)).tolist()
    return [EncodedPair(r[:prompt], r[prompt:-completion], r[-completion:], truncated=False) for r in ids]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(
        tmp_path_factory.mktemp("model"), "llama", hidden_size=256, intermediate_size=704, num_hidden_layers=4
    )


def kept_bytes(function: Callable[[], object]) -> int:
    """What autograd keeps for a backward pass, each storage once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(storages.values())


@pytest.mark.parametrize(
    "layout", [PACKED_ROW, *(pytest.param(layout, marks=pytest.mark.slow) for layout in (SHARED_ROW, TWO_ROWS))]
)
def test_the_peak_is_that_of_a_forward_and_the_activations_kept(layout: Layout, model: Path) -> None:
    """At most 1.3 times a forward without gradients of the same batch and what the backward pass needs."""
    loaded = checkpoint(model)
    engine = verified_engine(loaded, settings(model))
    pairs = pairs_of(6, 128, 128)
    batch = layout.batch(pairs, pad_id=0)

    def forward() -> Tensor:
        with engine.running(batch, layout):
            return token_logps(loaded.model, batch)

    with torch.no_grad():
        plain = peak_bytes(forward, CPU)
    hook = loaded.input_embeddings.register_forward_hook(lambda _, __, output: output.requires_grad_())
    kept = kept_bytes(forward)
    hook.remove()
    scoring = peak_bytes(lambda: engine.batch_gradients(pairs, layout), CPU)
    print(f"scoring {scoring / 2**20:.0f} MiB, forward {plain / 2**20:.0f} MiB, kept {kept / 2**20:.0f} MiB")
    assert scoring <= 1.3 * (plain + kept)


def test_recomputing_layers_keeps_less(model: Path) -> None:
    pairs = pairs_of(6, 128, 128)
    plain = verified_engine(checkpoint(model), settings(model))
    recomputing = verified_engine(checkpoint(model), settings(model, gradient_checkpointing=True))
    peaks = [peak_bytes(lambda e=e: e.batch_gradients(pairs, SHARED_ROW), CPU) for e in (plain, recomputing)]  # type: ignore[misc]
    assert peaks[1] < 0.6 * peaks[0]


class Small:
    """Stands in for a device whose memory holds ``tokens``: the tests' machine has no GPU to fill."""

    def __init__(self, engine: GradientEngine, tokens: int):
        self._compute = engine.batch_gradients
        self._tokens = tokens
        self.batches: list[int] = []

    def __call__(self, pairs: Sequence[EncodedPair], layout: Layout) -> Tensor:
        tokens = layout.batch_tokens(pairs)
        if tokens > self._tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.batches.append(tokens)
        return self._compute(pairs, layout)


def test_out_of_memory_halves_the_batch_and_goes_on(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = verified_engine(checkpoint(model), settings(model, max_batch_tokens=10_000))
    pairs = pairs_of(40, 20, 20)
    expected = engine.compute(pairs).values
    small = Small(engine, tokens=700)
    monkeypatch.setattr(engine, "batch_gradients", small)
    with caplog.at_level(logging.WARNING):
        found = engine.compute(pairs)
    assert not found.out_of_memory.any()
    assert_rows_match(found.values, expected, 1e-4)
    assert "out of memory with 2400 tokens; later requests have batches of 1200" in caplog.text
    engine.compute(pairs)
    assert max(small.batches) <= 700


def test_a_pair_that_does_not_fit_alone_fails_alone_and_says_why(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = verified_engine(checkpoint(model), settings(model))
    pairs = pairs_of(5, 20, 20)
    expected = engine.compute(pairs).values
    long = pairs_of(1, 300, 300)
    monkeypatch.setattr(engine, "batch_gradients", Small(engine, tokens=700))
    found = engine.compute([*pairs[:2], *long, *pairs[2:]])
    assert found.out_of_memory.tolist() == [False, False, True, False, False, False]
    assert_rows_match(np.delete(found.values, 2, axis=0), expected, 1e-4)
    decisions = outcome(Samples.of(found.values, ["en"] * 6, {2: Reason.OUT_OF_MEMORY})).decisions
    assert [d.reason for d in decisions] == [None, None, Reason.OUT_OF_MEMORY, None, None, None]
    assert not decisions[2].keep
    assert decisions[2].conflict_score is None


def test_a_halved_batch_grows_again_when_the_memory_is_back(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = verified_engine(checkpoint(model), settings(model, max_batch_tokens=600))
    pairs = pairs_of(10, 20, 20)
    small, large = Small(engine, tokens=150), Small(engine, tokens=10_000)
    monkeypatch.setattr(engine, "batch_gradients", small)
    engine.compute(pairs)
    assert max(small.batches) <= 150
    monkeypatch.setattr(engine, "batch_gradients", large)
    engine.compute(pairs)
    assert max(large.batches) <= 180  # one step at a time
    for _ in range(Budget.STEPS):
        engine.compute(pairs[:1])
    engine.compute(pairs)
    assert max(large.batches) == 600


def test_every_kind_of_memory_that_runs_out_is_known() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert is_out_of_memory(error.value)
    # No GPU fills its memory here; these are the texts of its runtime and of cuBLAS.
    assert is_out_of_memory(
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")
    )
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("CUDA error: out of memory"))
