"""Small random models of the architectures that people align."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
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

NO_HEAD_DIM = {key: size for key, size in SIZES.items() if key != "head_dim"}

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

ROUTED_EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}

LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}

LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}

MIXTURES: dict[str, dict[str, Any]] = {
    "deepseek_v2": NO_HEAD_DIM | ROUTED_EXPERTS | LATENT | {"topk_method": "group_limited_greedy"},
    "deepseek_v3": NO_HEAD_DIM | ROUTED_EXPERTS | LATENT,
    "ernie4_5_moe": SIZES | {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24},
    "glm4_moe": SIZES | ROUTED_EXPERTS,
    "gpt_oss": SIZES | LOCAL_EXPERTS | {"sliding_window": WINDOW, "rope_parameters": {"rope_type": "default"}},
    "granitemoe": NO_HEAD_DIM | LOCAL_EXPERTS,
    "hunyuan_v1_moe": SIZES | {"num_experts": 4, "moe_topk": 2},
    "llama4_text": SIZES | LOCAL_EXPERTS | {"intermediate_size_mlp": 48, "moe_layers": [1]},
    "minimax_m2": SIZES | LOCAL_EXPERTS | {"rotary_dim": 8},
    "mixtral": SIZES | LOCAL_EXPERTS | {"sliding_window": WINDOW},
    # Experts without gates.
    "nemotron_h": SIZES
    | EXPERTS
    | {"n_routed_experts": 4, "moe_shared_expert_intermediate_size": 24, "layers_block_type": ["attention", "moe"]},
    "olmoe": NO_HEAD_DIM | EXPERTS,
    "phimoe": NO_HEAD_DIM | LOCAL_EXPERTS,
    "qwen2_moe": NO_HEAD_DIM
    | EXPERTS
    | {"shared_expert_intermediate_size": 24, "sliding_window": WINDOW, "use_sliding_window": True},
    "qwen3_moe": SIZES | EXPERTS | {"decoder_sparse_step": 1},
}
"""Mixtures of experts; experts and routers are made in all the ways that transformers makes them."""


SPARE = 8
"""Embeddings beyond the demo checkpoint's tokenizer: transformers' classes may add tokens, as that of Qwen2 does."""


def random_model(name: str, vocabulary: int, **sizes: int) -> PreTrainedModel:
    """A random model of an architecture, in float32, for evaluation."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(name.split("-")[0], vocab_size=vocabulary, **(ARCHITECTURES | MIXTURES)[name] | sizes)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    model.requires_grad_(False)
    for parameter in model.parameters():
        if not parameter.any():  # some biases and routers begin at zero, where what is wrong about them is not seen
            parameter.normal_(std=0.2)
    return model


def save_model(folder: Path, model: PreTrainedModel) -> Path:
    """A model with the demo checkpoint's tokenizer, on disk."""
    model.save_pretrained(folder)
    _demo_tokenizer().save_pretrained(folder)
    return folder


def save_random_model(folder: Path, name: str, **sizes: int) -> Path:
    """A random model of an architecture with the demo checkpoint's tokenizer, on disk."""
    return save_model(folder, random_model(name, len(_demo_tokenizer()) + SPARE, **sizes))


@cache
def _demo_tokenizer() -> PreTrainedTokenizerBase:
    # To read it takes as long as to make a model.
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    return tokenizer


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
