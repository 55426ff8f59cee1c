"""Gradients of mixtures of experts, whose weights are one parameter for all experts of a layer, against autograd."""

from pathlib import Path

import numpy as np
import pytest
import torch
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from peft import LoraConfig, get_peft_model
from support.architectures import MIXTURES, WINDOW, save_random_model
from support.autograd import pair_gradient
from support.models import checkpoint, settings
from support.properties import assert_rows_match, cosine
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS


def ids(count: int, seed: int) -> list[int]:
    drawn: list[int] = np.random.default_rng(seed).integers(5, 4000, count).tolist()
    return drawn


PAIRS = [
    EncodedPair(ids(2 * WINDOW + 4, 0), ids(9, 1), ids(14, 2), truncated=False),
    EncodedPair(ids(20, 3), [7, 8, 9, 10], [7, 8, *ids(12, 4)], truncated=False),  # completions that begin alike
    EncodedPair(ids(1, 9), ids(11, 10), ids(10, 11), truncated=False),  # too short a prompt to be worth sharing
]


def truths(loaded: Checkpoint, engine: GradientEngine) -> np.ndarray:
    return np.stack([pair_gradient(loaded, pair, list(engine.modules)) for pair in PAIRS])


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_gradients_of_every_matrix_in_the_blocks_equal_autograd(name: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, name)
    loaded = checkpoint(model)
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert engine.layouts != (TWO_ROWS,)
    truth = truths(loaded, engine)
    assert_rows_match(engine.compute(PAIRS).values, truth, 1e-5)
    assert_rows_match(engine.restricted([TWO_ROWS]).compute(PAIRS).values, truth, 1e-5)
    # Biases of experts are matrices too, and so are the corrections of routers, which no gradient reaches.
    blocks = loaded.model.get_submodule("model.layers")
    matrices = {id(p) for n, p in blocks.named_parameters() if p.ndim > 1 and "bias" not in n}
    assert {id(target.weight) for target in engine.modules.values()} == matrices


@pytest.mark.parametrize("name", ["gpt_oss", "llama4_text", "qwen3_moe"])
@pytest.mark.parametrize("kind", ["kronecker", "flora"])
def test_a_compressed_gradient_is_that_of_autograd_compressed(kind: str, name: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, name)
    loaded = checkpoint(model)
    options = settings(model, projection=kind, projection_rank=16, projection_dim=256)
    engine = verified_engine(loaded, options)
    assert_rows_match(engine.compute(PAIRS).values, compressed(engine, truths(loaded, engine)), 1e-4)


def compressed(engine: GradientEngine, whole: np.ndarray) -> np.ndarray:
    """Gradients of all weights, ``[pairs, weights]``, in the engine's compression."""
    target = torch.zeros(len(whole), engine.projection.dim)
    shapes = {name: of_module.shape for name, of_module in engine.modules.items()}
    parts = torch.from_numpy(whole).split([shape.weights for shape in shapes.values()], dim=1)
    for (name, shape), part in zip(shapes.items(), parts, strict=True):
        experts = () if shape.experts is None else (shape.experts,)
        engine.projection[name].compress(target, part.reshape(-1, *experts, shape.d_out, shape.d_in))
    return target.cpu().numpy()


@pytest.mark.parametrize("name", ["gpt_oss", "olmoe"])
def test_gradients_in_bfloat16_point_where_those_in_float32_do(name: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, name)
    whole = checkpoint(model)
    half = verified_engine(checkpoint(model, dtype="bfloat16"), settings(model, projection="exact", dtype="bfloat16"))
    truth = truths(whole, half)
    cosines = [cosine(row, t) for row, t in zip(half.compute(PAIRS).values, truth, strict=True)]
    assert min(cosines) >= 0.97, cosines


@pytest.mark.parametrize("name", ["deepseek_v3", "llama4_text"])
def test_recomputed_layers_have_the_same_gradients(name: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, name)
    plain = verified_engine(checkpoint(model), settings(model, projection="exact"))
    options = settings(model, projection="exact", gradient_checkpointing=True)
    recomputing = verified_engine(checkpoint(model), options)
    assert_rows_match(recomputing.compute(PAIRS).values, plain.compute(PAIRS).values, 1e-6)


@pytest.mark.parametrize("pattern", [r"experts\.down_proj", r"experts\.gate_up_proj", r"mlp\.gate$"])
def test_one_kind_of_weight_can_be_chosen_alone(pattern: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, "qwen3_moe")
    loaded = checkpoint(model)
    engine = verified_engine(loaded, settings(model, projection="exact", target_modules=pattern))
    assert len(engine.modules) == 2
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-5)


@pytest.mark.parametrize("implementation", ["eager", "batched_mm"])
def test_gradients_do_not_depend_on_how_a_model_computes_its_experts(implementation: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, "mixtral")
    loaded = checkpoint(model, reference=str(model))  # computed without gradients, in the same block
    loaded.model.set_experts_implementation(implementation)
    before = dict(ALL_EXPERTS_FUNCTIONS)
    engine = verified_engine(loaded, settings(model, projection="exact", reference=str(model)))
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-5)
    assert dict(ALL_EXPERTS_FUNCTIONS) == before


def test_an_adapter_of_a_mixture_is_trained_without_its_experts(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model", "qwen3_moe")
    config = LoraConfig(r=4, target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(str(tmp_path / "adapter"))
    loaded = checkpoint(model, adapter=str(tmp_path / "adapter"))
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert all("lora" in name for name in engine.modules)
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-5)


@pytest.mark.parametrize(("name", "router"), [("qwen3_moe", "gate"), ("llama4_text", "router")])
def test_a_router_that_is_trained_beside_an_adapter_is_a_target_as_it_is_without_one(
    name: str, router: str, tmp_path: Path
) -> None:
    model = save_random_model(tmp_path / "model", name)
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=[router], init_lora_weights=False)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    loaded = checkpoint(model, adapter=str(tmp_path / "adapter"))
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert len(engine.modules) == sum(parameter.requires_grad for parameter in adapted.parameters())
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-5)


def test_experts_that_see_some_of_the_tokens_only_are_an_error_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_random_model(tmp_path, "qwen3_moe")
    loaded = checkpoint(model)
    mlp: nn.Module = loaded.model.get_submodule("model.layers.1.mlp")
    forward = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda x: torch.cat([forward(x[:, :5].contiguous()), x[:, 5:]], 1))
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp.* gets an input of shape \(20, \d+\)"):
        verified_engine(loaded, settings(model))
