"""A model that has an encoder is refused, even where its files have all that its decoder would need."""

import json
from pathlib import Path

import pytest
import torch
from congrad_worker.errors import CheckpointError
from safetensors.torch import load_file, save_file
from support.models import DEMO_CHECKPOINT, checkpoint
from transformers import AutoTokenizer, BartConfig, BartForCausalLM, BartForConditionalGeneration, PreTrainedModel


def saved(kind: type[PreTrainedModel], folder: Path) -> Path:
    """A small random model of the BART family with the demo checkpoint's tokenizer. As in files of older versions,
    weights that are tied are under all of their names."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        max_position_embeddings=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    shared = weights.get("model.shared.weight", weights.get("model.decoder.embed_tokens.weight"))
    assert shared is not None
    names = ("model.decoder.embed_tokens.weight", "lm_head.weight")
    save_file(weights | {name: shared.clone() for name in names}, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("is_said", [True, False], ids=["its class is said", "its class is not said"])
def test_the_decoder_of_a_model_with_an_encoder_is_not_served_for_the_whole(is_said: bool, tmp_path: Path) -> None:
    folder = saved(BartForConditionalGeneration, tmp_path / "model")
    if not is_said:
        file = folder / "config.json"
        config = json.loads(file.read_text())
        del config["architectures"]
        file.write_text(json.dumps(config))
    name = "BartForConditionalGeneration" if is_said else "bart"
    with pytest.raises(CheckpointError, match=rf"{name} has an encoder beside its decoder; only decoders"):
        checkpoint(folder)


def test_what_was_saved_as_a_decoder_alone_is_taken(tmp_path: Path) -> None:
    folder = saved(BartForCausalLM, tmp_path / "model")
    assert isinstance(checkpoint(folder).model, BartForCausalLM)
