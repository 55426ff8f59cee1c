"""Checkpoints whose files do not hold what their model is made of: refused, as the rest of it would be random."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from congrad_worker.errors import CheckpointError
from safetensors.torch import load_file, save_file
from support.architectures import save_adapter, save_random_model
from support.models import checkpoint, save_lora
from torch import Tensor
from transformers import AutoModelForCausalLM

Weights = dict[str, Tensor]


def rewritten(file: Path, change: Callable[[Weights], Weights]) -> None:
    """Changes the weights in a safetensors file."""
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: weight for name, weight in weights.items() if part not in name}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new): weight for name, weight in weights.items()}


def one_more(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: torch.zeros(2, 2)}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "llama",
            without("layers.1.mlp"),
            r"has no model\.layers\.1\.mlp\..*, without which Llama\w+ would be",
        ),
        ("llama", renamed("model.layers", "model.blocks"), r"has no model\.layers\.0\.\S+, .* and 15 more"),
        ("llama", without("lm_head"), r"has no lm_head\.weight"),
        ("mixtral", without("experts.1.w2"), r"experts\.down_proj has the size \[3, 32, 48\] and not \[4, 32, 48\]"),
        ("llama", one_more("model.layers.0.self_attn.q_proj.bias"), r"has model\.layers\.0\.self_attn\.q_proj\.bias"),
    ],
)
def test_a_model_with_missing_or_misplaced_weights_is_refused(
    name: str, change: Callable[[Weights], Weights], message: str, tmp_path: Path
) -> None:
    model = save_random_model(tmp_path, name)
    rewritten(model / "model.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        checkpoint(model)


def test_a_reference_with_missing_weights_is_refused(small_llama: Path, tmp_path: Path) -> None:
    reference = save_random_model(tmp_path, "llama")
    rewritten(reference / "model.safetensors", without("layers.0.self_attn"))
    with pytest.raises(CheckpointError, match=r"CONGRAD_REFERENCE=\S+: has no model\.layers\.0\.self_attn"):
        checkpoint(small_llama, reference=str(reference))


def test_what_other_tasks_and_older_versions_have_saved_is_no_missing_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save_random_model(tmp_path, "llama-tied")
    rewritten(model / "model.safetensors", one_more("model.layers.0.self_attn.rotary_emb.inv_freq"))
    rewritten(model / "model.safetensors", one_more("score.weight"))
    with caplog.at_level(logging.WARNING):
        checkpoint(model)
    assert "LlamaForCausalLM does not use score.weight" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("base_model.model.model", "base_model.model.base_model.model"), r"has no base_model\.model"),
        (without("layers.1.mlp.down_proj.lora_B"), r"has no \S+layers\.1\.mlp\.down_proj\.lora_B"),
        (one_more("base_model.model.model.layers.7.mlp.up_proj.lora_A.weight"), r"has \S+layers\.7\S+, for which"),
    ],
)
def test_an_adapter_with_missing_or_misplaced_weights_is_refused(
    change: Callable[[Weights], Weights], message: str, tmp_path: Path
) -> None:
    model = save_random_model(tmp_path / "model", "llama")
    adapter = save_adapter(model, tmp_path / "adapter", "lora")
    rewritten(adapter / "adapter_model.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        checkpoint(model, adapter=str(adapter))


def test_a_missing_module_that_an_adapter_was_to_save_is_named(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model", "llama")
    adapter = save_adapter(model, tmp_path / "adapter", "lora")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": ["lm_head"]}))
    with pytest.raises(
        CheckpointError, match=r"has no \S*lm_head\.weight, which its adapter_config\.json says is saved"
    ):
        checkpoint(model, adapter=str(adapter))


def test_an_adapter_is_loaded_as_peft_loads_it(tmp_path: Path) -> None:
    from peft import PeftModel

    model = save_random_model(tmp_path / "model", "llama")
    adapter = save_adapter(model, tmp_path / "adapter", "dora")
    ours = checkpoint(model, adapter=str(adapter)).model.state_dict()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), str(adapter)).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


@pytest.mark.parametrize(
    "config",
    [
        {"adapters": {"0": "somebody/lora"}, "peft_type": "XLORA", "hidden_size": 8},
        {"shadow_model": "somebody/model", "peft_type": "SHADOW"},
        {"prompt_tuning_init_state_dict_path": "elsewhere.pt", "peft_type": "MULTITASK_PROMPT_TUNING"},
    ],
)
def test_an_adapter_has_no_weights_from_elsewhere(config: dict[str, object], small_llama: Path, tmp_path: Path) -> None:
    adapter = save_lora(small_llama, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text(json.dumps({"task_type": "CAUSAL_LM"} | config), encoding="utf-8")
    field = next(iter(config))
    with pytest.raises(CheckpointError, match=f"has weights from elsewhere as {field}, and they are not loaded"):
        checkpoint(small_llama, adapter=str(adapter))
