"""A checkpoint that asks for code of others is refused, before anything is fetched."""

import json
import shutil
from pathlib import Path

import pytest
from congrad_worker.errors import CheckpointError
from support.models import checkpoint


@pytest.mark.parametrize(
    "asked",
    [
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "paged|somebody/kernel@main"},
        {"attn_implementation": {"text_config": "somebody/kernel"}},
        {"text_config": {"experts_implementation": "somebody/kernel"}},
    ],
)
def test_a_kernel_of_the_hub_is_refused(asked: dict[str, object], small_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_llama, tmp_path / "model"))
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | asked))
    with pytest.raises(CheckpointError, match=r"somebody/kernel.* a kernel of the hub, and code of others is not run"):
        checkpoint(folder)


def test_a_configuration_that_another_one_names_is_looked_at_too(small_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_llama, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.4.0.0.json").write_text(json.dumps(config | {"attn_implementation": "somebody/kernel"}))
    (folder / "config.json").write_text(json.dumps(config | {"configuration_files": ["config.4.0.0.json"]}))
    with pytest.raises(CheckpointError, match=r"config\.4\.0\.0\.json has 'somebody/kernel'"):
        checkpoint(folder)


def test_what_transformers_has_itself_is_taken(small_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_llama, tmp_path / "model"))
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attn_implementation": "sdpa"}))
    assert checkpoint(folder).model.config._attn_implementation == "sdpa"
