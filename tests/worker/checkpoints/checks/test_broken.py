"""Checkpoints with a broken file: the message names it, whatever the library that met it said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from congrad_worker.errors import CheckpointError
from safetensors.torch import load_file, save_file
from support.models import checkpoint, save_lora
from transformers import LlamaForCausalLM

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4c5e\nsize 269060552\n"


@pytest.fixture
def model(small_llama: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(small_llama, tmp_path / "model"))


def is_now(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def cut_shard(folder: Path) -> None:
    LlamaForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="100KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:300])


def configured(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | values), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (is_now("tokenizer.json", b""), r"model/tokenizer\.json is empty"),
        (is_now("tokenizer.json", b"<html>"), r"model/tokenizer\.json is not JSON: Expecting value"),
        (is_now("tokenizer_config.json", b"[]"), r"model/tokenizer_config\.json is not a JSON object"),
        (is_now("tokenizer.json", b'{"added_tokens": [], "model": {"type": "None"}}'), r"cannot be loaded: .*untagged"),
        (is_now("config.json", b"{no"), r"model/config\.json is not JSON"),
        (is_now("model.safetensors", POINTER), r"model/model\.safetensors is a pointer of Git LFS"),
        (cut, r"model/model\.safetensors is not a whole safetensors file"),
        (cut_shard, r"model/model-00002-of-\S+\.safetensors is not a whole safetensors file"),
        (configured(num_hidden_layers="2"), "'num_hidden_layers': TypeError: .* expected int, got str"),
        (configured(hidden_act="superglu"), "cannot be loaded: KeyError: 'superglu'"),
        (configured(num_attention_heads=0), "cannot be loaded: ZeroDivisionError: "),
    ],
)
def test_a_broken_file_is_named(change: Callable[[Path], object], message: str, model: Path) -> None:
    change(model)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint(model)
    assert "\n" not in str(caught.value)


def test_a_missing_tokenizer_is_said(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"CONGRAD_MODEL=\S+: has no tokenizer; save the one"):
        checkpoint(model)


def test_a_pointer_in_the_place_of_a_tokenizers_only_file_is_said(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.model").write_bytes(POINTER)
    with pytest.raises(CheckpointError, match=r"model/tokenizer\.model is a pointer of Git LFS"):
        checkpoint(model)


def test_an_adapter_of_another_base_is_told_by_a_size(model: Path, tmp_path: Path) -> None:
    weights = save_lora(model, tmp_path / "adapter") / "adapter_model.safetensors"
    other = {name: torch.zeros(len(w), 128) if "lora_A" in name else w for name, w in load_file(weights).items()}
    save_file(other, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"size mismatch for \S+lora_A\S+: .*\[4, 128\].*\[4, (64|96)\]"):
        checkpoint(model, adapter=str(tmp_path / "adapter"))


@pytest.mark.parametrize("content", [b"", b"{no", b"[]"])
def test_a_broken_configuration_of_an_adapter_is_named(content: bytes, model: Path, tmp_path: Path) -> None:
    adapter = save_lora(model, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"adapter/adapter_config\.json is (empty|not JSON|not a JSON object)"):
        checkpoint(model, adapter=str(adapter))
