"""What cannot be a checkpoint is told before anything is started."""

from pathlib import Path

import pytest
from congrad.local.checkpoint import check_checkpoint
from congrad.local.redis_server import StartError


def folder_with(parent: Path, *names: str) -> str:
    """A folder of empty files."""
    folder = parent / "-".join(names or ("empty",))
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return str(folder)


@pytest.mark.parametrize("name", ["/no/such/model", "./no", "~/no-such-model", "models/of/mine", "my model"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_refused(name: str) -> None:
    with pytest.raises(StartError, match="there is no such folder, and it is no hub name"):
        check_checkpoint(name)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "gpt2"])
def test_a_hub_name_is_for_the_worker_to_look_up(name: str) -> None:
    check_checkpoint(name, name)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/model", "m" * 300])
def test_a_name_that_cannot_even_be_looked_at_is_one_line(name: str) -> None:
    with pytest.raises(StartError, match=r"^(~nobody|mmm)"):
        check_checkpoint(name)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    model, adapter = folder_with(tmp_path, "config.json"), folder_with(tmp_path, "adapter_config.json")
    check_checkpoint(model, adapter)
    with pytest.raises(StartError, match=r"has no config\.json, so it is not a model's folder"):
        check_checkpoint(folder_with(tmp_path))
    with pytest.raises(StartError, match="holds a PEFT adapter: give its base as --model"):
        check_checkpoint(adapter)
    with pytest.raises(StartError, match=r"has no adapter_config\.json"):
        check_checkpoint(model, model)
    with pytest.raises(StartError, match="is a file"):
        check_checkpoint(f"{model}/config.json")
