"""Tokenizers that know more tokens than their model has embeddings for."""

from pathlib import Path
from typing import Any

import pytest
from congrad.contract import wire
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.errors import CheckpointError
from support.architectures import random_model, save_random_model
from support.models import DEMO_CHECKPOINT, checkpoint
from tokenizers import AddedToken
from transformers import AutoTokenizer

TOKENS = len(AutoTokenizer.from_pretrained(DEMO_CHECKPOINT))


def save(folder: Path, added: dict[str, Any], vocabulary: int = TOKENS) -> Path:
    """A model whose tokenizer has tokens added, and whose embeddings have not."""
    save_random_model(folder, "llama")
    random_model("llama", vocabulary).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if added:
        tokenizer.add_special_tokens(added)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_pad_token_beyond_the_vocabulary_of_the_embeddings_is_refused_by_name(tmp_path: Path) -> None:
    model = save(tmp_path, {"pad_token": "[PAD]"})
    with pytest.raises(CheckpointError, match=rf"has {TOKENS} embeddings.*: '\[PAD\]' \({TOKENS}\); call"):
        checkpoint(model)


def test_a_vocabulary_larger_than_the_embeddings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"has 4000 embeddings.* and 93 more; call the model's resize_token_embed"
    ):
        checkpoint(save(tmp_path, {}, 4000))


def test_a_reference_with_a_smaller_vocabulary_is_refused(small_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"CONGRAD_REFERENCE=\S+: has 4000 embeddings"):
        checkpoint(small_llama, reference=str(save(tmp_path, {}, 4000)))


def test_a_marker_of_images_beyond_the_vocabulary_refuses_only_the_texts_that_have_it(tmp_path: Path) -> None:
    """As the tokenizer of Gemma 3 1B, which has no image tower, has one."""
    save(tmp_path, {})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens([AddedToken("<image_soft_token>", special=True)], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    loaded = checkpoint(tmp_path)
    encoder = Encoder(loaded.tokenizer, 100, loaded.vocabulary)
    sample = {"language": "en", "prompt": "What is this?", "chosen": "An owl.", "rejected": "Two owls."}
    encoder.encode(wire.Sample.model_validate(sample))
    with pytest.raises(ValueError, match="it holds '<image_soft_token>', for which the model has no embedding"):
        encoder.encode(wire.Sample.model_validate(sample | {"rejected": "<image_soft_token>"}))
