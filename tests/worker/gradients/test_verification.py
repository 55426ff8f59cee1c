"""What the check at load finds: state that runs from branch to branch, windows, lengths, what has no gradient."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients import engine as engines
from congrad_worker.gradients.checks import agreement, hooks, independence, probes
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.fused.stand_ins import StandIns
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from support.architectures import SIZES, save_adapter, save_model, save_random_model
from support.autograd import pair_gradient
from support.models import checkpoint, settings
from support.properties import assert_rows_match
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Zamba2Config,
    Zamba2ForCausalLM,
)

HALF = ["float32", "bfloat16"]
TEXT: dict[str, Any] = SIZES | {"vocab_size": 4096}


@pytest.fixture(autouse=True)
def _same_weights_in_every_run() -> None:
    torch.manual_seed(0)


def ids(count: int, seed: int) -> list[int]:
    drawn: list[int] = np.random.default_rng(seed).integers(5, 4000, count).tolist()
    return drawn


def pair(prompt: int, chosen: int, rejected: int, seed: int = 0) -> EncodedPair:
    return EncodedPair(ids(prompt, seed), ids(chosen, seed + 1), ids(rejected, seed + 2), truncated=False)


def engine(model: Path, **options: Any) -> GradientEngine:
    options = {"projection": "exact", "max_length": 256} | options
    return verified_engine(checkpoint(model, **options), settings(model, **options))


def truths(machine: GradientEngine, pairs: list[EncodedPair]) -> np.ndarray:
    return np.stack([pair_gradient(machine.checkpoint, p, list(machine.modules)) for p in pairs])


# What is the same in every precision


@pytest.mark.parametrize("dtype", HALF)
def test_branches_into_which_a_convolution_carries_the_chosen_tokens_share_no_row(dtype: str, tmp_path: Path) -> None:
    config = Lfm2Config(**TEXT | {"layer_types": ["conv", "full_attention"], "block_dim": 32})
    model = save_model(tmp_path, Lfm2ForCausalLM(config))
    machine = GradientEngine(checkpoint(model, dtype=dtype), settings(model))
    pairs = probes.short_pairs(machine.checkpoint)
    assert independence.leak(machine, SHARED_ROW, pairs) > 1e-4
    assert independence.leak(machine, TWO_ROWS, pairs) == 0
    assert engine(model, dtype=dtype).layouts == (TWO_ROWS,)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["llama", "gemma2", "mixtral"])
def test_branches_that_attention_keeps_apart_have_the_same_bits_beside_any_chosen_tokens(
    name: str, dtype: str, tmp_path: Path
) -> None:
    model = save_random_model(tmp_path, name)
    machine = GradientEngine(checkpoint(model, dtype=dtype), settings(model))
    assert independence.leak(machine, SHARED_ROW, probes.short_pairs(machine.checkpoint)) == 0


def test_branches_that_differ_by_rounding_only_are_asked_for_their_derivative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product whose rounding depends on other tokens, as those of experts may, is no leak; one with them is."""
    model = save_random_model(tmp_path, "llama")
    machine = GradientEngine(checkpoint(model), settings(model))
    pairs = probes.short_pairs(machine.checkpoint)
    mlp = machine.checkpoint.model.get_submodule("model.layers.0.mlp")
    forward = mlp.forward
    noisy = lambda x: forward(x) * (1 + 1e-3 * x.detach().mean())  # noqa: E731
    with monkeypatch.context() as patched:
        patched.setattr(mlp, "forward", noisy)
        assert independence.leak(machine, SHARED_ROW, pairs) == 0
        patched.setattr(mlp, "forward", lambda x: forward(x) * (1 + 1e-3 * x.mean()))
        assert independence.leak(machine, SHARED_ROW, pairs) > 0


@pytest.mark.parametrize("dtype", HALF)
def test_a_weight_that_a_model_uses_past_its_module_is_named_by_the_probe(dtype: str, tmp_path: Path) -> None:
    config = MambaConfig(vocab_size=4096, hidden_size=32, num_hidden_layers=2, state_size=4, time_step_rank=4)
    model = save_model(tmp_path, MambaForCausalLM(config))
    with pytest.raises(
        CheckpointError, match=r"mixer\.dt_proj differ from autograd's by 100\.0%.*dt_proj\)\$\)'"
    ) as error:
        engine(model, dtype=dtype)
    rest = str(error.value).split("CONGRAD_TARGET_MODULES='")[1].split("'")[0]
    machine = engine(model, dtype=dtype, target_modules=rest)
    assert machine.layouts == (TWO_ROWS,)
    assert len(machine.modules) == 2 * 3


def test_hooks_and_weights_are_compared_to_the_rounding_of_one_product(tmp_path: Path) -> None:
    model = save_random_model(tmp_path, "llama")
    machine = GradientEngine(checkpoint(model, dtype="bfloat16"), settings(model))
    errors = hooks.compared(machine, SHARED_ROW, probes.short_pairs(machine.checkpoint)).errors
    assert errors.keys() == machine.modules.keys()
    assert max(errors.values()) < 0.005


# What only length shows


@pytest.mark.parametrize("dtype", HALF)
def test_a_probe_is_long_enough_for_a_window_that_no_setting_names(dtype: str, tmp_path: Path) -> None:
    """GPT-Neo's mask counts distances in the row. Its window is longer than short pairs are."""
    config = GPTNeoConfig(
        vocab_size=4096, hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=4,
        window_size=100, max_position_embeddings=512, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = save_model(tmp_path, GPTNeoForCausalLM(config))
    machine = engine(model, dtype=dtype)
    assert machine.layouts == (TWO_ROWS,)
    if dtype == "float32":
        pairs = [pair(120, 60, 40)]
        assert_rows_match(machine.compute(pairs).values, truths(machine, pairs), 1e-5)


def longrope(original: int) -> Phi3Config:
    factors = {"short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 16.0]}
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": original, **factors}
    sizes = TEXT | {"original_max_position_embeddings": original, "rope_parameters": rope}
    return Phi3Config(**sizes)


def test_a_pair_has_the_frequencies_of_its_own_length_beside_any_other_pair(tmp_path: Path) -> None:
    """A probe of LongRoPE: in one batch all rows have those of the longest."""
    model = save_model(tmp_path, Phi3ForCausalLM(longrope(64)))
    machine = engine(model)
    assert machine.layouts != (TWO_ROWS,)
    short, long = pair(20, 12, 9), pair(60, 50, 45, seed=3)
    together = machine.compute([short, long, pair(3, 30, 40, seed=6)]).values
    alone = np.concatenate([machine.compute([short]).values, machine.compute([long]).values])
    assert_rows_match(together[:2], alone, 1e-5)
    assert_rows_match(alone, truths(machine, [short, long]), 1e-5)


def test_lengths_at_which_frequencies_depend_on_what_came_before_are_not_probed_but_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0}
    config = LlamaConfig(**TEXT | {"max_position_embeddings": 64, "rope_parameters": rope})
    model = save_model(tmp_path, LlamaForCausalLM(config))
    with caplog.at_level(logging.WARNING):
        assert checkpoint(model, max_length=256).max_length == 64
    assert "only 64 tokens of CONGRAD_MAX_LENGTH=256" in caplog.text


def test_a_long_probe_that_finds_no_memory_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_random_model(tmp_path, "llama")
    lengths: list[int] = []
    compute = agreement.states_error

    def small(machine: GradientEngine, layout: Any, long: EncodedPair, side: int) -> float:
        lengths.append(long.length)
        if long.length > 100:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(machine, layout, long, side)

    monkeypatch.setattr(agreement, "states_error", small)
    assert engine(model).layouts != (TWO_ROWS,)
    assert lengths == [256, 128, 64]


# What has no gradient, or none that is right


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(bad: float, tmp_path: Path) -> None:
    """What a training that has diverged saves; an overflow would have its reader look for another dtype."""
    model = save_random_model(tmp_path, "llama")
    weights = load_file(model / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = bad
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"not finite: there is NaN or infinity in model\.layers\.1\.mlp\.down_"):
        engine(model)


def test_an_adapter_whose_gradient_vanishes_is_refused_by_the_probe(tmp_path: Path) -> None:
    """Both factors are zero; of a fresh adapter one is."""
    model = save_random_model(tmp_path / "model", "llama")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=4, target_modules=["q_proj"]))
    adapted.save_pretrained(str(tmp_path / "fresh"))
    assert engine(model, adapter=str(tmp_path / "fresh")).layouts != (TWO_ROWS,)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            parameter.mul_(float("lora" not in name))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    with pytest.raises(CheckpointError, match=r"the gradients of test pairs vanish in torch\.float32"):
        engine(model, adapter=str(tmp_path / "adapter"))


def test_an_adapter_that_test_pairs_do_not_switch_on_is_refused_by_the_probe(tmp_path: Path) -> None:
    """aLoRA is active behind its invocation tokens only."""
    model = save_random_model(tmp_path / "model", "llama")
    options: dict[str, Any] = {
        "target_modules": ["q_proj"],
        "alora_invocation_tokens": [7, 8, 9],
        "init_lora_weights": False,
    }
    config = LoraConfig(task_type="CAUSAL_LM", r=4, **options)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(str(tmp_path / "adapter"))
    with pytest.raises(CheckpointError, match=r"lora_B\.default gets an input of shape \(0, 4\)"):
        engine(model, adapter=str(tmp_path / "adapter"))


class WithoutBackward(nn.Linear):
    """As a kernel that autograd knows nothing of."""

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs.detach(), self.weight.detach())


class RoundedInputs(nn.Linear):
    """As BitNet's layers, which round what goes in; to autograd that is a constant, and only its scale is not."""

    def forward(self, inputs: Tensor) -> Tensor:
        scale = 127 / inputs.abs().amax(-1, keepdim=True)
        return F.linear((inputs * scale).round(), self.weight) / scale


def test_a_base_without_a_backward_pass_is_found_by_a_probe_of_its_layers(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model", "llama")
    adapter = str(save_adapter(model, tmp_path / "adapter", "lora"))
    loaded = checkpoint(model, adapter=adapter)
    layer: Any = loaded.model.get_submodule("base_model.model.model.layers.1.mlp.up_proj")
    layer.base_layer = WithoutBackward(32, 48, bias=False)
    with pytest.raises(CheckpointError, match="WithoutBackward has no backward pass, so that an adapter's gradient"):
        verified_engine(loaded, settings(model))
    layer.base_layer = RoundedInputs(32, 48, bias=False)
    with pytest.raises(CheckpointError, match=r"RoundedInputs has a backward pass that is \d+% off"):
        verified_engine(loaded, settings(model))


# What crashed, or was refused without need


def test_a_window_of_zero_is_no_length_for_a_probe(tmp_path: Path) -> None:
    sizes = TEXT | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    config = Qwen2MoeConfig(**sizes | {"shared_expert_intermediate_size": 24, "sliding_window": 0})
    assert engine(save_model(tmp_path, Qwen2MoeForCausalLM(config))).layouts != (TWO_ROWS,)


def test_a_weight_of_two_modules_has_one_gradient(tmp_path: Path) -> None:
    """Zamba 2 uses the same attention block in several layers."""
    sizes: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "num_mem_blocks": 1,
        "mamba_d_state": 8, "mamba_headdim": 16, "mamba_ngroups": 1, "n_mamba_heads": 4, "num_attention_heads": 4,
        "intermediate_size": 48, "adapter_rank": 4, "chunk_size": 16, "initializer_range": 0.2, "pad_token_id": 0,
    }  # fmt: skip
    config = Zamba2Config(vocab_size=4096, **sizes)
    machine = engine(save_model(tmp_path, Zamba2ForCausalLM(config)))
    weights = {name: target.weight for name, target in machine.modules.items()}
    first = {id(weight): name for name, weight in reversed(weights.items())}
    names = [name for name, weight in weights.items() if first[id(weight)] == name]
    assert len(names) < len(weights)
    pairs = [pair(20, 9, 7)]
    truth = np.stack([pair_gradient(machine.checkpoint, p, names) for p in pairs])
    assert_rows_match(machine.compute(pairs).values, truth, 1e-5)


@pytest.mark.parametrize(("dtype", "by"), [("bfloat16", 1.2), ("bfloat16", 1.0), ("float32", 1.2)])
def test_chains_of_operations_that_change_what_a_model_says_in_half_precision_are_left_to_the_model(
    dtype: str, by: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where their rounding has a router choose another expert."""
    model = save_random_model(tmp_path, "llama")
    loaded = checkpoint(model, dtype=dtype)
    norm = loaded.model.get_submodule("model.norm")
    own = norm.forward

    def chains(_: object) -> StandIns:
        return StandIns([(norm, "forward", lambda hidden: own(hidden) * by)])

    monkeypatch.setattr(engines, "chains", chains)
    given = settings(model, dtype=dtype)
    if dtype == "float32":  # rounding is no reason there
        with pytest.raises(CheckpointError, match="log-probabilities differ"):
            verified_engine(loaded, given)
        return
    found = verified_engine(loaded, given)
    assert found.layouts == (PACKED_ROW, TWO_ROWS)
    assert found.rounds_otherwise == (by == 1.0)
    monkeypatch.setattr(engines, "chains", lambda _: StandIns(()))
    pairs = [pair(9, 5, 4), pair(12, 3, 8, seed=3)]
    assert_rows_match(found.compute(pairs).values, verified_engine(loaded, given).compute(pairs).values, 1e-6)
