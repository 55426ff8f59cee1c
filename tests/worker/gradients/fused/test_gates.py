"""Gated MLPs by Liger-Kernel's kernel, which a CPU has not: PyTorch's own operations stand in."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.fused import liger
from congrad_worker.gradients.fused.gates import fused_gates
from support.architectures import random_model, save_random_model
from support.models import checkpoint, settings
from support.properties import assert_rows_match
from torch import Tensor
from transformers.models.llama import modeling_llama

PAIRS = [EncodedPair([5, 6, 7, 8], [9, 10], [11], truncated=False), EncodedPair([4], [5, 6], [7], truncated=False)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Has stand-ins for the kernels; the shapes that the one for gates was called with."""
    found: list[tuple[int, ...]] = []

    def silu_product(first: Tensor, second: Tensor) -> Tensor:
        found.append(tuple(first.shape))
        return F.silu(first) * second

    kernels = liger.Kernels(modeling_llama.apply_rotary_pos_emb, silu_product)
    monkeypatch.setattr(liger, "kernels", lambda _: kernels)
    return found


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(("name", "count"), [("llama", 2), ("qwen3", 2), ("gemma2", 0), ("phi3", 0), ("gpt2", 0)])
def test_a_gate_is_known_by_what_it_computes(name: str, count: int) -> None:
    """Gemma's gates are GELU; Phi 3 has both products in one layer."""
    assert len(list(fused_gates(random_model(name, 128)))) == count


def test_gradients_are_those_without_the_kernels(calls: list[tuple[int, ...]], tmp_path: Path) -> None:
    model = save_random_model(tmp_path, "llama")
    loaded, own = checkpoint(model), settings(model)
    fused = GradientEngine(loaded, own).compute(PAIRS).values
    assert calls
    with pytest.MonkeyPatch.context() as without:
        without.setattr(liger, "kernels", lambda _: None)
        calls.clear()
        assert_rows_match(fused, GradientEngine(loaded, own).compute(PAIRS).values, 1e-6)
    assert not calls


def test_without_liger_kernel_models_compute_their_own() -> None:
    assert liger.kernels(torch.device("cpu")) is None
    assert not list(fused_gates(random_model("llama", 128)))
