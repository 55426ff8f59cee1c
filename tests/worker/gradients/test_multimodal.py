"""Multimodal models on rows of text: gradients of their language models, and of no tower beside these."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from peft import LoraConfig, get_peft_model
from support.architectures import SIZES, save_model
from support.autograd import pair_gradient
from support.models import checkpoint, settings
from support.properties import assert_rows_match
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

TEXT: dict[str, Any] = SIZES | {"vocab_size": 4096}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
}


def gemma3() -> PreTrainedModel:
    text = TEXT | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    vision = VISION | {"patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=4090)
    return Gemma3ForConditionalGeneration(config)


def mllama() -> PreTrainedModel:
    text = TEXT | {
        "num_hidden_layers": 3,
        "cross_attention_layers": [1],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    }
    vision: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_global_layers": 1,
        "attention_heads": 4,
    }
    vision |= {"image_size": 28, "patch_size": 14, "vision_output_dim": 64, "intermediate_layers_indices": [1]}
    return MllamaForConditionalGeneration(MllamaConfig(vision_config=vision, text_config=text, image_token_index=4090))


def qwen2_5_vl() -> PreTrainedModel:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 32,
        "patch_size": 14,
    }
    tokens: dict[str, Any] = {
        "image_token_id": 4090,
        "video_token_id": 4091,
        "vision_start_token_id": 4092,
        "vision_end_token_id": 4093,
    }
    config = Qwen2_5_VLConfig(text_config=TEXT | {"rope_parameters": rope}, vision_config=vision, **tokens)
    return Qwen2_5_VLForConditionalGeneration(config)


def pairs() -> list[EncodedPair]:
    drawn = np.random.default_rng(0).integers(5, 4000, (2, 60)).tolist()
    cuts = ((30, 14), (12, 40))
    return [
        EncodedPair(r[:p], r[p : p + c], r[p + c :], truncated=False) for r, (p, c) in zip(drawn, cuts, strict=True)
    ]


@pytest.mark.parametrize("make", [gemma3, mllama, qwen2_5_vl])
def test_a_multimodal_model_has_the_gradients_of_its_text(make: object, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = save_model(tmp_path, make())  # type: ignore[operator]
    loaded = checkpoint(model)
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert engine.layouts != (TWO_ROWS,)
    assert all(".language_model.layers." in name for name in engine.modules)
    names = [
        name for name in engine.modules if ("cross_attn" not in name and "layers.1" not in name) or make is not mllama
    ]
    truth = np.stack([pair_gradient(loaded, pair, names) for pair in pairs()])
    if make is not mllama:
        assert_rows_match(engine.compute(pairs()).values, truth, 1e-5)
    else:  # without an image its layers of cross-attention are passed over
        found = engine.compute(pairs()).values
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(truth, axis=1), rtol=1e-4)


def test_an_adapter_of_both_towers_is_served_for_its_text(tmp_path: Path) -> None:
    """The vision tower has as many blocks as the language model."""
    torch.manual_seed(0)
    model = save_model(tmp_path / "model", qwen2_5_vl())
    adapted = get_peft_model(
        AutoModelForImageTextToText.from_pretrained(model),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False),
    )
    adapted.save_pretrained(str(tmp_path / "adapter"))
    loaded = checkpoint(model, adapter=str(tmp_path / "adapter"))
    engine = verified_engine(loaded, settings(model, projection="exact"))
    assert len(engine.modules) == 2 * 2 * 7
    truth = np.stack([pair_gradient(loaded, pair, list(engine.modules)) for pair in pairs()])
    assert_rows_match(engine.compute(pairs()).values, truth, 1e-5)
