"""Rotary positions in few operations, and by Liger-Kernel's kernel, which a CPU has not: what it does stands in."""

from contextlib import suppress
from typing import Any

import pytest
import torch
from congrad_worker.gradients.fused import liger
from congrad_worker.gradients.fused.chains import chains
from congrad_worker.gradients.fused.rotary import Rotary, rotaries
from support.architectures import random_model
from torch import Tensor
from transformers.models.glm.modeling_glm import apply_rotary_pos_emb as interleaved
from transformers.models.llama import modeling_llama


@pytest.mark.parametrize(
    ("name", "count"), [("llama", 1), ("gemma2", 1), ("qwen3", 1), ("phi3", 1), ("gpt_neox", 1), ("gpt2", 0)]
)
def test_the_function_is_known_by_what_it_computes(name: str, count: int) -> None:
    """GPT-2 rotates nothing."""
    assert len(list(rotaries(random_model(name, 128)))) == count


def test_another_function_of_the_same_name_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", interleaved)
    assert not list(rotaries(random_model("llama", 128)))


def test_the_process_has_its_own_function_again_after_a_batch() -> None:
    model = random_model("llama", 128)
    own = modeling_llama.apply_rotary_pos_emb
    with suppress(RuntimeError), chains(model).in_place():
        assert isinstance(modeling_llama.apply_rotary_pos_emb, Rotary)
        raise RuntimeError
    assert modeling_llama.apply_rotary_pos_emb is own


def inputs(size: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, heads, size, generator=draw).transpose(1, 2).requires_grad_() for heads in (4, 2)]


@pytest.mark.parametrize("unsqueeze_dim", [1, 2])
def test_rotated_vectors_and_their_gradients_are_the_models_own(unsqueeze_dim: int) -> None:
    q, k = (vectors if unsqueeze_dim == 1 else vectors.transpose(1, 2) for vectors in inputs(8))
    cos, sin = (torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    own, other = (
        torch.autograd.grad([vectors.sin().sum() for vectors in function(q, k, cos, sin, unsqueeze_dim)], (q, k))
        for function in (modeling_llama.apply_rotary_pos_emb, Rotary(modeling_llama.apply_rotary_pos_emb))
    )
    torch.testing.assert_close(other, own)


def test_angles_for_a_part_of_a_head_or_in_another_dtype_are_the_models_own_to_use() -> None:
    q, k = inputs(8)
    angles = torch.ones(1, 5, 8, dtype=torch.float64)
    rotated, _ = Rotary(modeling_llama.apply_rotary_pos_emb)(q, k, angles, angles)
    assert rotated.dtype == torch.float64


class InPlace(torch.autograd.Function):
    """As Liger-Kernel does it: into what it is given, where that lies as a layer puts it out."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        for vectors in (q, k):
            vectors.copy_(vectors * cos[:, None] + modeling_llama.rotate_half(vectors) * sin[:, None])
        return q.view_as(q), k.view_as(k)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        back = [g * cos[:, None] - modeling_llama.rotate_half(g * sin[:, None]) for g in gradients]
        return *back, None, None


def test_one_kernel_rotates_queries_and_keys_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = liger.Kernels(InPlace.apply, lambda x, y: torch.nn.functional.silu(x) * y)
    monkeypatch.setattr(liger, "kernels", lambda _: kernels)
    q, k = inputs(8)
    angles = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1)).repeat(1, 1, 2)
    plain = modeling_llama.apply_rotary_pos_emb(q, k, angles.cos(), angles.sin())
    rotated = Rotary(modeling_llama.apply_rotary_pos_emb)(q * 1, k * 1, angles.cos(), angles.sin())
    torch.testing.assert_close(rotated, plain)
    expected, found = (torch.autograd.grad([v.sin().sum() for v in two], (q, k)) for two in (plain, rotated))
    torch.testing.assert_close(found, expected)
    assert len(list(rotaries(random_model("llama", 128)))) == 1
