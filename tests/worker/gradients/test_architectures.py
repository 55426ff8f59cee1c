"""Gradients of the architectures that people align, against autograd; prompts shared and not."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.modules import coverage
from congrad_worker.gradients.verification import verified_engine
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from support.architectures import ARCHITECTURES, WINDOW, save_adapter, save_random_model
from support.autograd import pair_gradient
from support.models import checkpoint, settings
from support.properties import assert_rows_match, cosine
from torch import Tensor
from transformers import AutoModelForCausalLM

EAGER_ONLY = {"gemma2", "bloom", "gpt_neo"}
"""transformers has no sdpa for them: gemma2 caps its attention scores, bloom and gpt_neo add to them."""

NOT_SHARED = {"bloom", "gpt_neo"}
"""ALiBi counts distances by index, not by position; gpt_neo has a mask of its own."""


def ids(count: int, seed: int) -> list[int]:
    drawn: list[int] = np.random.default_rng(seed).integers(5, 4000, count).tolist()
    return drawn


PAIRS = [
    EncodedPair(ids(2 * WINDOW + 4, 0), ids(9, 1), ids(14, 2), truncated=False),
    EncodedPair(ids(30, 3), [7, 8, 9, 10], [7, 8, *ids(12, 4)], truncated=False),  # completions that begin alike
    EncodedPair(ids(5, 5), ids(20, 6), ids(3, 7), truncated=False),
    EncodedPair(ids(14, 8), [7, 8, 9], [7, 8], truncated=False),  # one completion is the beginning of the other
    EncodedPair(ids(1, 9), ids(11, 10), ids(10, 11), truncated=False),  # too short a prompt to be worth sharing
]


def truths(loaded: Checkpoint, engine: GradientEngine) -> np.ndarray:
    return np.stack([pair_gradient(loaded, pair, list(engine.modules)) for pair in PAIRS])


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        *((name, "eager" if name in EAGER_ONLY else "sdpa") for name in sorted(ARCHITECTURES)),
        ("llama", "eager"),
        *(
            pytest.param(name, "eager", marks=pytest.mark.slow)
            for name in sorted(ARCHITECTURES)
            if name not in EAGER_ONLY | {"llama"}
        ),
    ],
)
def test_gradients_equal_autograd(name: str, attention: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = save_random_model(tmp_path, name)
    loaded = checkpoint(model, attn_implementation=attention)
    own = settings(model, projection="exact")
    truth = truths(loaded, GradientEngine(loaded, own))
    for layout in (PACKED_ROW, SHARED_ROW):
        # The last suits all pairs; a shared row leaves some to it.
        engine = verified_engine(loaded, own, [layout, TWO_ROWS])
        assert engine.layouts == ((TWO_ROWS,) if name in NOT_SHARED else (layout, TWO_ROWS))
        assert_rows_match(engine.compute(PAIRS).values, truth, 1e-5)
    assert_rows_match(engine.restricted([TWO_ROWS]).compute(PAIRS).values, truth, 1e-5)
    caplog.clear()
    served = verified_engine(loaded, own).layouts
    assert served == ((TWO_ROWS,) if name in NOT_SHARED else (PACKED_ROW, TWO_ROWS)), "the cheapest that is exact"
    said = [record for record in caplog.records if "computes prompts twice" in record.message]
    assert len(said) == (name in NOT_SHARED)


@pytest.mark.parametrize("name", ["bloom", "gpt_neo"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_prompts_are_not_shared_where_that_is_a_little_wrong(name: str, dtype: str, tmp_path: Path) -> None:
    """Distances by index, and a local mask of the model's own: less than rounding would hide, more than it makes."""
    model = save_random_model(tmp_path, name)
    assert verified_engine(checkpoint(model, dtype=dtype), settings(model)).layouts == (TWO_ROWS,)


def test_a_configuration_that_asks_for_tuples_changes_nothing(tmp_path: Path) -> None:
    """As those of some checkpoints of years ago do."""
    model = save_random_model(tmp_path, "llama")
    expected = verified_engine(checkpoint(model), settings(model)).compute(PAIRS).values
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"return_dict": False}), encoding="utf-8")
    np.testing.assert_array_equal(verified_engine(checkpoint(model), settings(model)).compute(PAIRS).values, expected)


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
def test_gradients_of_an_adapter_equal_autograd(kind: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model", "llama")
    loaded = checkpoint(model, adapter=str(save_adapter(model, tmp_path / "adapter", kind)))
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert engine.layouts != (TWO_ROWS,)
    assert len(engine.modules) == 2 * 2 * 7  # two factors of seven layers in two blocks
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-5)


def test_a_linear_layer_that_is_trained_beside_an_adapter_has_its_gradient_too(tmp_path: Path) -> None:
    """PEFT's ``modules_to_save``."""
    model = save_random_model(tmp_path / "model", "llama")
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["up_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(str(tmp_path / "adapter"))
    loaded = checkpoint(model, adapter=str(tmp_path / "adapter"))
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert sum("up_proj.modules_to_save" in name for name in engine.modules) == 2
    assert coverage(loaded.model, engine.modules) == 1
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_gradients_in_bfloat16_point_where_those_in_float32_do(name: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, name)
    whole = checkpoint(model)
    half = verified_engine(checkpoint(model, dtype="bfloat16"), settings(model, projection="exact", dtype="bfloat16"))
    assert half.layouts != (TWO_ROWS,)
    truth = truths(whole, half)
    cosines = [cosine(row, t) for row, t in zip(half.compute(PAIRS).values, truth, strict=True)]
    assert min(cosines) >= 0.98, cosines


def test_an_adapter_has_the_dtype_of_its_base_where_that_points_where_float32_does(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model", "llama")
    adapters = {kind: str(save_adapter(model, tmp_path / kind, kind)) for kind in ("lora", "dora")}
    whole = checkpoint(model, adapter=adapters["lora"])
    half = checkpoint(model, adapter=adapters["lora"], dtype="bfloat16")
    options = settings(model, projection="exact", dtype="bfloat16", adapter=adapters["lora"])
    engine = verified_engine(half, options)
    assert {target.weight.dtype for target in engine.modules.values()} == {torch.bfloat16}
    truth = truths(whole, engine)
    cosines = [cosine(row, t) for row, t in zip(engine.compute(PAIRS).values, truth, strict=True)]
    assert min(cosines) >= 0.98, cosines
    others = checkpoint(model, adapter=adapters["dora"], dtype="bfloat16").model.named_parameters()
    assert {p.dtype for name, p in others if "lora" in name} == {torch.float32}, "it takes norms of whole weights"


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gpt2"])
def test_recomputed_layers_have_the_same_gradients(name: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path, name)
    plain = verified_engine(checkpoint(model), settings(model, projection="exact"))
    options = settings(model, projection="exact", gradient_checkpointing=True)
    recomputing = verified_engine(checkpoint(model), options)
    assert recomputing.layouts != (TWO_ROWS,)
    assert_rows_match(recomputing.compute(PAIRS).values, plain.compute(PAIRS).values, 1e-6)


def test_what_is_left_out_is_said_with_its_share_of_the_parameters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save_random_model(tmp_path, "mixtral")
    loaded = checkpoint(model)
    engine = verified_engine(loaded, settings(model, target_modules="self_attn"))
    blocks = loaded.model.get_submodule("model.layers")
    total = sum(parameter.numel() for parameter in blocks.parameters())
    attention = sum(p.numel() for name, p in blocks.named_parameters() if "self_attn" in name)
    assert coverage(loaded.model, engine.modules) == pytest.approx(attention / total)
    assert "experts.gate_up_proj" in caplog.text


def test_a_weight_that_is_used_without_its_module_is_an_error_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_random_model(tmp_path, "llama")
    loaded = checkpoint(model)
    mlp = loaded.model.get_submodule("model.layers.1.mlp")
    gate, up, down = (mlp.get_submodule(f"{name}_proj").weight for name in ("gate", "up", "down"))
    monkeypatch.setattr(mlp, "forward", lambda x: F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down))  # type: ignore[arg-type]
    with pytest.raises(
        CheckpointError, match=r"those of model\.layers\.1\.mlp\.\w+ differ from autograd's by 100"
    ) as error:
        verified_engine(loaded, settings(model))
    rest = str(error.value).split("CONGRAD_TARGET_MODULES='")[1].split("'")[0]
    narrowed = verified_engine(loaded, settings(model, target_modules=rest))
    assert len(narrowed.modules) == 8


def test_a_module_that_mixes_the_tokens_of_pairs_is_an_error_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_random_model(tmp_path, "llama")
    loaded = checkpoint(model)
    mlp = loaded.model.get_submodule("model.layers.1.mlp")
    forward = mlp.forward
    # Experts see some of the tokens of all pairs, as one list.
    monkeypatch.setattr(
        mlp, "forward", lambda x: torch.cat([forward(x[:, :5].flatten(0, 1)).view(-1, 5, 32), x[:, 5:]], 1)
    )
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp.* gets an input of shape \(20, \d+\)"):
        verified_engine(loaded, settings(model))


def test_pairs_that_a_reshape_mixes_are_an_error_at_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_random_model(tmp_path, "llama")
    loaded = checkpoint(model)
    mlp = loaded.model.get_submodule("model.layers.1.mlp")
    forward = mlp.forward

    def by_token(x: torch.Tensor) -> torch.Tensor:
        rows, tokens, features = x.shape
        flat: torch.Tensor = forward(x.transpose(0, 1).reshape(-1, features))
        return flat.view(tokens, rows, features).transpose(0, 1)

    monkeypatch.setattr(mlp, "forward", by_token)
    with pytest.raises(CheckpointError, match=r"differ from autograd's by \d+\.\d%"):
        verified_engine(loaded, settings(model))


def test_an_adapter_without_linear_layers_is_an_error_at_load(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model", "llama")
    adapter = str(save_adapter(model, tmp_path / "adapter", "ia3"))
    with pytest.raises(CheckpointError, match="has no linear layers of its own"):
        verified_engine(checkpoint(model, adapter=adapter), settings(model))


def test_a_base_in_4_bits_has_the_gradients_of_its_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = pytest.importorskip("bitsandbytes.nn.modules")
    # A CPU with such instructions has a kernel of its own for inference, without a backward pass.
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)
    # Its quantisation works on blocks of 64.
    model = save_random_model(tmp_path / "model", "llama", hidden_size=64, intermediate_size=128, head_dim=16)
    adapter = str(save_adapter(model, tmp_path / "adapter", "lora"))
    loaded = checkpoint(model, adapter=adapter, load_in_4bit=True)
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-4)
    with pytest.raises(CheckpointError, match="CONGRAD_ADAPTER"):
        verified_engine(checkpoint(model, load_in_4bit=True), settings(model))


FP8 = torch.float8_e4m3fn


def store_in_fp8(model: Path, block: int = 16) -> dict[str, Tensor]:
    """Rewrites the decoder layers of a checkpoint as DeepSeek-V3's are published, in FP8 with a scale for each block,
    and the rest in bfloat16. Returns what the weights are then, in float32."""
    file, stored, expected = model / "model.safetensors", {}, {}
    for name, weight in load_file(file).items():
        if ".layers." in name and weight.ndim == 2:
            blocks = weight.unflatten(1, (-1, block)).unflatten(0, (-1, block))  # [rows, block, columns, block]
            scales = blocks.abs().amax((1, 3), keepdim=True) / torch.finfo(FP8).max
            rounded = (blocks / scales).to(FP8)
            stored[name], stored[f"{name}_scale_inv"] = rounded.reshape(weight.shape), scales[:, 0, :, 0].contiguous()
            expected[name] = (rounded.float() * scales).reshape(weight.shape)
        else:
            stored[name] = weight.bfloat16()
            expected[name] = stored[name].float()
    save_file(stored, file, metadata={"format": "pt"})
    how = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [block, block]}
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16", "quantization_config": how}))
    return expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="transformers dequantises where there is no GPU")
def test_a_model_in_fp8_is_computed_in_float32_on_a_cpu(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model", "llama")
    expected = store_in_fp8(model)
    loaded = checkpoint(model, dtype="auto")
    weights = dict(loaded.model.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())  # dtypes too
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert_rows_match(engine.compute(PAIRS).values, truths(loaded, engine), 1e-5)


@pytest.fixture(autouse=True)
def _warnings_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
