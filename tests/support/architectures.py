"""Small random models of the architectures that people align."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
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
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
}


def save_random_model(folder: Path, name: str) -> Path:
    """A random model of an architecture, in float32, with the demo checkpoint's tokenizer."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    config = AutoConfig.for_model(name.split("-")[0], vocab_size=len(tokenizer), **ARCHITECTURES[name])
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
