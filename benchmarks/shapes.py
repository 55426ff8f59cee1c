"""Models to measure on: real architectures with random weights from a fixed seed, so nothing is downloaded.

The published sizes are those of the `config.json` of meta-llama/Meta-Llama-3-8B, meta-llama/Llama-3.2-1B and
google/gemma-2-2b. What a gradient costs depends on sizes alone, not on what the weights hold.
"""

from collections.abc import Callable
from typing import cast

import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PreTrainedConfig, PreTrainedModel


def small(vocabulary: int) -> LlamaConfig:
    """8 layers × 512, with the tokenizer's vocabulary: about 27 M parameters, for a CPU."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )


def llama3_8b(_: int) -> LlamaConfig:
    """Llama 3 8B."""
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        tie_word_embeddings=False,
    )


def llama32_1b(_: int) -> LlamaConfig:
    """Llama 3.2 1B."""
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        tie_word_embeddings=True,
    )


def gemma2_2b(_: int) -> Gemma2Config:
    """Gemma 2 2B, with its soft-capped attention and logits."""
    return Gemma2Config(
        vocab_size=256_000,
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=4096,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )


SHAPES: dict[str, Callable[[int], PreTrainedConfig]] = {
    "small": small,
    "llama3-8b": llama3_8b,
    "llama3.2-1b": llama32_1b,
    "gemma2-2b": gemma2_2b,
}


def build(shape: str, vocabulary: int, device: torch.device) -> PreTrainedModel:
    """A frozen model of a shape, made on the device: float32 on a CPU, bfloat16 elsewhere."""
    torch.manual_seed(0)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    with device:
        # transformers has types, but not for this.
        model = AutoModelForCausalLM.from_config(SHAPES[shape](vocabulary), dtype=dtype)  # type: ignore[no-untyped-call]
    return cast("PreTrainedModel", model.eval().requires_grad_(False))
