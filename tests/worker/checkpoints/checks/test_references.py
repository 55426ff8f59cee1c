"""A checkpoint whose files name others that no fingerprint covers, or outside of its folder, is refused."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from congrad_worker.checkpoints.files import locate
from congrad_worker.errors import CheckpointError
from support.models import settings

INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    "name", ["../outside/weights.safetensors", "/outside/weights.safetensors", "below/w.safetensors"]
)
@pytest.mark.parametrize(
    ("file", "field", "is_map"),
    [
        (INDEX, "weight_map", True),
        ("other.safetensors.index.json", "weight_map", True),
        ("config.json", "transformers_weights", False),
        ("config.json", "configuration_files", False),
        ("config.4.0.0.json", "transformers_weights", False),
        ("tokenizer_config.json", "fast_tokenizer_files", False),
    ],
)
def test_files_elsewhere_are_refused(
    file: str, field: str, is_map: bool, name: str, small_llama: Path, tmp_path: Path
) -> None:
    folder = _with(small_llama, tmp_path, file, {field: {"lm_head.weight": name} if is_map else name})
    with pytest.raises(CheckpointError, match=rf"{file}: has '{name}' as {field}, which is not in the same folder"):
        locate(settings(folder))


@pytest.mark.parametrize(
    ("file", "values"),
    [
        (INDEX, {"weight_map": {"lm_head.weight": "model.bin"}}),
        ("config.json", {"transformers_weights": "adapter_model.bin"}),
    ],
)
def test_a_pickle_that_is_named_is_refused(
    file: str, values: dict[str, object], small_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"{file}: has '\w+\.bin' as \w+, which is not read"):
        locate(settings(_with(small_llama, tmp_path, file, values)))


def test_shards_beside_their_index_are_taken(small_llama: Path, tmp_path: Path) -> None:
    values = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    assert locate(settings(_with(small_llama, tmp_path, INDEX, values))).fingerprint


def _with(model: Path, tmp_path: Path, file: str, values: Mapping[str, object]) -> Path:
    """A copy of a model, with values added to one of its files."""
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    path = folder / file
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**old, **values}), encoding="utf-8")
    return folder
