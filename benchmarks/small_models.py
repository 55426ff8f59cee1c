"""A small random model of every architecture that transformers has a causal language model of; some multimodal ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim", "lru_width"), 32),
    "block_dim": 32,
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "intermediate_size_mlp"), 48),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 256),
    # Attention and gates that differ from token to token, as in a trained model.
    **dict.fromkeys(("initializer_range", "init_std"), 0.2),
    "head_dim": 8,
    "rotary_dim": 8,
    "query_pre_attn_scalar": 8,
    "hidden_size_per_layer_input": 8,
    "laurel_rank": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk", "top_k", "decoder_sparse_step"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 24),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "shared_intermediate_size", "intermediate_size_moe"), 24),
    **dict.fromkeys(("num_experts_shared", "n_shared_experts", "num_shared_experts", "moe_layer_freq"), 1),
    **dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace", "decoder_sparse_step"), 1),
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 64,
    **dict.fromkeys(("mamba_d_state", "state_size", "ssm_state_size", "mamba_headdim", "mamba_head_dim"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_num_groups"), 1),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 16),
    "mamba_dt_rank": 4,
    "time_step_rank": 4,
    "mamba_d_ssm": 64,
    "mamba_expand": 2,
    "use_mamba_kernels": False,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
}
"""By every name that configurations have for them."""

OWN: dict[str, dict[str, Any]] = {
    "gemma2": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma3_text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8},
    "mistral": {"sliding_window": 8},
    "mixtral": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
    "zamba": {"layers_block_type": ["mamba", "hybrid"]},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "num_mem_blocks": 1},
}
"""What single ones need beside, or what makes of two small layers what is peculiar to them."""

ENCODERS = (
    *(
        "bert",
        "bert-generation",
        "big_bird",
        "camembert",
        "data2vec-text",
        "electra",
        "ernie",
        "megatron-bert",
        "roberta",
    ),
    *("roberta-prelayernorm", "roformer", "xlm-roberta", "xlm-roberta-xl"),
)
"""They are causal where their configuration says so."""

OWN |= {name: {"is_decoder": True} for name in ENCODERS}

UNFIT = {"falcon": ("head_dim",), "xlstm": ("v_head_dim", "qk_head_dim")}
"""Sizes that configurations have and compute themselves."""

NO_TEXT = {
    "blt", "emu3", "fuyu", "gemma3n", "gemma4_assistant", "gemma4_unified_assistant", "git", "got_ocr2", "moshi",
    "moss_transcribe_diarize", "musicgen", "musicgen_melody", "trocr", "whisper",
}  # fmt: skip
"""Of speech, pictures or bytes, or parts of others."""

LARGEST = 3_000_000
"""Parameters of a small model. One that has more has sizes under names that are not known here, and is left out."""

VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
}


def names() -> list[str]:
    """The architectures: transformers' names of their configurations."""
    return sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - NO_TEXT)


def small_config(name: str, vocabulary: int) -> PretrainedConfig:
    """A configuration in small sizes. What goes wrong with it is whatever the class raises."""
    default = AutoConfig.for_model(name)
    given = {size: value for size, value in SIZES.items() if size not in UNFIT.get(name, ()) and _has(default, size)}
    if "kv_lora_rank" in given:  # latent attention has as many keys as queries
        given["num_key_value_heads"] = given["num_attention_heads"]
    given |= {"vocab_size": vocabulary} | OWN.get(name, {})
    config: PretrainedConfig = AutoConfig.for_model(name, **given)
    kinds = getattr(config, "layer_types", None)
    if kinds and len(kinds) > 2 and name not in OWN:
        config = AutoConfig.for_model(name, **given, layer_types=[kinds[0], kinds[-1]])
    return config


def _has(config: PretrainedConfig, size: str) -> bool:
    try:
        return hasattr(config, size)
    except ValueError:  # one that each layer has its own of
        return True


def small_model(name: str, vocabulary: int) -> PreTrainedModel:
    """A random model of an architecture.

    :raises ValueError: it would not be small.
    """
    config = small_config(name, vocabulary)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in _made(AutoModelForCausalLM, config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size} parameters")
    torch.manual_seed(0)
    return _made(AutoModelForCausalLM, config)


def _of_text(**more: Any) -> dict[str, Any]:
    keys = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
    )
    return {key: SIZES[key] for key in (*keys, "max_position_embeddings", "initializer_range", "pad_token_id")} | more


def _multimodal(name: str, **config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    return _made(AutoModelForImageTextToText, AutoConfig.for_model(name, **config))


def _made(kind: Any, config: PretrainedConfig) -> PreTrainedModel:
    made: PreTrainedModel = kind.from_config(config, dtype=torch.float32).eval()
    return made


def multimodal_models(vocabulary: int) -> dict[str, Callable[[], PreTrainedModel]]:
    """Makers of small random multimodal models, by name."""
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    marks = {"image_token_id": vocabulary - 1, "video_token_id": vocabulary - 2}
    marks |= {"vision_start_token_id": vocabulary - 3, "vision_end_token_id": vocabulary - 4}
    qwen = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 32,
        "patch_size": 14,
    }
    text = _of_text(vocab_size=vocabulary)
    mrope = text | {"rope_parameters": rope | {"mrope_section": [1, 1, 2]}}
    mixed = text | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    crossed = text | {"num_hidden_layers": 3, "cross_attention_layers": [1], "rope_parameters": rope}
    of_mllama: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
    }
    of_mllama |= {"attention_heads": 4, "image_size": 28, "patch_size": 14, "vision_output_dim": 64}
    of_mllama |= {"intermediate_layers_indices": [1]}
    tower = VISION | {"patch_size": 14}
    clip = {"model_type": "clip_vision_model", **tower}
    return {
        "qwen2_vl": lambda: _multimodal("qwen2_vl", text_config=mrope, vision_config=qwen, **marks),
        "qwen2_5_vl": lambda: _multimodal("qwen2_5_vl", text_config=mrope, vision_config=qwen, **marks),
        "gemma3": lambda: _multimodal(
            "gemma3", text_config=mixed, vision_config=tower, mm_tokens_per_image=4, image_token_index=vocabulary - 1
        ),
        "mllama": lambda: _multimodal(
            "mllama", text_config=crossed, vision_config=of_mllama, image_token_index=vocabulary - 1
        ),
        "llava": lambda: _multimodal(
            "llava", text_config={"model_type": "llama", **text}, vision_config=clip, image_token_index=vocabulary - 1
        ),
        "paligemma": lambda: _multimodal(
            "paligemma",
            text_config={"model_type": "gemma", **text},
            vision_config={"model_type": "siglip_vision_model", **tower, "projection_dim": 32},
            projection_dim=32,
            image_token_index=vocabulary - 1,
        ),
    }


def save(folder: Path, model: PreTrainedModel, tokenizer: Path) -> Path:
    """The model with a tokenizer from elsewhere, on disk."""
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder
