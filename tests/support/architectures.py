"""Small random models of the architectures that people align."""

from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)

from support.models import DEMO_CHECKPOINT

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    # Attention and gates that differ from token to token, as in a trained model.
    "initializer_range": 0.2,
    "pad_token_id": 0,
}

WINDOW = 8
"""Shorter than the test pairs, so that sliding layers do not see all of them."""

MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "llama-tied": SIZES | {"tie_word_embeddings": True},
    "gemma2": SIZES | MIXED | {"query_pre_attn_scalar": 8},
    "gemma3_text": SIZES | MIXED | {"query_pre_attn_scalar": 8},
    "qwen2": SIZES | MIXED | {"use_sliding_window": True},
    "qwen3": SIZES,
    "mistral": SIZES | {"sliding_window": WINDOW},
    "phi3": SIZES | {"sliding_window": WINDOW},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.2},
    "gpt_neox": {k: v for k, v in SIZES.items() if k != "head_dim"},
    "mixtral": SIZES | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW},
    "qwen3_moe": SIZES
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1},
    "opt": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "init_std": 0.2,
    },
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "attention_types": [[["global", "local"], 1]],
        "num_heads": 4,
        "window_size": WINDOW,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
    },
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
}


def random_model(name: str, vocabulary: int, **sizes: int) -> PreTrainedModel:
    """A random model of an architecture, in float32, for evaluation."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(name.split("-")[0], vocab_size=vocabulary, **ARCHITECTURES[name] | sizes)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    model.requires_grad_(False)
    return model


def save_random_model(folder: Path, name: str, **sizes: int) -> Path:
    """A random model of an architecture with the demo checkpoint's tokenizer, on disk."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    random_model(name, len(tokenizer), **sizes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_adapter(model: Path, folder: Path, kind: str) -> Path:
    """A random adapter of all linear layers of a model, none of whose factors is zero."""
    torch.manual_seed(1)
    config: PeftConfig
    if kind == "ia3":
        config = IA3Config(
            task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
        )
    else:
        config = LoraConfig(
            r=4,
            target_modules="all-linear",
            init_lora_weights=False,
            use_dora=kind == "dora",
            use_rslora=kind == "rslora",
        )
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(str(folder))
    return folder
