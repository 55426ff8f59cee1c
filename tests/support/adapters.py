"""Adapters to publish, made without PEFT: the processes that make them have to be quick."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

RANK = 4


def save_adapter(model: Path, folder: Path, seed: int = 0, scale: float = 0.1) -> Path:
    """A random LoRA adapter on the queries of a Llama, in the files that PEFT would write."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    hidden = config["hidden_size"]
    out = config.get("head_dim") or hidden // config["num_attention_heads"]
    draw = np.random.default_rng(seed)
    weights = {}
    for layer in range(config["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        shapes = {"A": (RANK, hidden), "B": (out * config["num_attention_heads"], RANK)}
        for side, shape in shapes.items():
            weights[f"{name}.lora_{side}.weight"] = (scale * draw.standard_normal(shape)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": RANK,
        "lora_alpha": RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj"],
        "init_lora_weights": True,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(told), encoding="utf-8")
    return folder
