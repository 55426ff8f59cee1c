"""Finding, checking and fingerprinting checkpoints."""

import os
import shutil
from pathlib import Path

import pytest
from congrad_worker.checkpoints.files import locate
from congrad_worker.errors import CheckpointError
from support.models import save_lora, settings


def test_a_fingerprint_depends_on_contents_and_settings_but_not_on_the_path(small_llama: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_llama, tmp_path / "copy"))
    original = locate(settings(small_llama)).fingerprint
    assert locate(settings(copy)).fingerprint == original
    assert locate(settings(copy, device="meta", max_batch_tokens=7)).fingerprint == original
    changes = (
        {"seed": 1},
        {"projection_dim": 8},
        {"target_modules": "q_proj"},
        {"layers": "upper-half"},
        {"dtype": "bfloat16", "fp8": True},
        {"beta": 0.2},
        {"unit_gradients": True},
    )
    for change in changes:
        assert locate(settings(copy, **change)).fingerprint != original
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert locate(settings(copy)).fingerprint != original


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "there is no such folder"),
        (lambda folder: folder, "has no config.json"),
        (lambda folder: _write(folder, "config.json"), "has no weights"),
        (lambda folder: _write(folder, "config.json", "pytorch_model.bin"), "holds pickled weights only"),
        (lambda folder: _write(folder, "config.json", "optimizer.pt", "training_args.bin"), "has no weights"),
        (lambda folder: _write(folder, "config.json", "scheduler.pt", "global_step5"), "global_step5 holds the parts"),
        (lambda folder: _write(folder, "adapter_config.json", "adapter_model.safetensors"), "holds a PEFT adapter"),
        (lambda folder: _write(folder, "file") / "file", "is a file"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused(make: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        locate(settings(make(tmp_path)))  # type: ignore[operator]


def test_a_name_that_the_hub_does_not_give_is_refused() -> None:
    with pytest.raises(CheckpointError, match="CONGRAD_MODEL=nobody/nothing: is no folder here, and the hub says"):
        locate(settings("nobody/nothing"))  # type: ignore[arg-type]


def test_an_adapter_needs_safetensors(small_llama: Path, tmp_path: Path) -> None:
    adapter = save_lora(small_llama, tmp_path / "adapter")
    assert locate(settings(small_llama, adapter=str(adapter))).name.endswith("+adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="holds pickled weights only"):
        locate(settings(small_llama, adapter=str(adapter)))


def test_no_pickle_hides_behind_another_file_of_an_adapter(small_llama: Path, tmp_path: Path) -> None:
    adapter = save_lora(small_llama, tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "other.safetensors")
    (adapter / "adapter_model.bin").write_bytes(b"what PEFT would load")
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        locate(settings(small_llama, adapter=str(adapter)))


def test_the_base_as_reference_needs_an_adapter(small_llama: Path) -> None:
    with pytest.raises(CheckpointError, match="needs CONGRAD_ADAPTER"):
        locate(settings(small_llama, reference="base"))


def test_a_link_to_nowhere_is_said(small_llama: Path, tmp_path: Path) -> None:
    """As in a snapshot of the hub's cache that was copied without its blobs."""
    folder = shutil.copytree(small_llama, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("../../blobs/4c5e")
    with pytest.raises(CheckpointError, match=r"model/tokenizer\.json: cannot be read: No such file or directory"):
        locate(settings(folder))


def test_a_folder_with_the_name_of_a_file_is_none_of_them(small_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_llama, tmp_path / "model")
    before = locate(settings(folder)).fingerprint
    (folder / "figures.json").mkdir()
    assert locate(settings(folder)).fingerprint == before


def test_a_pipe_is_refused_and_not_waited_for(small_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_llama, tmp_path / "model")
    os.mkfifo(folder / "pipe.json")
    with pytest.raises(CheckpointError, match=r"pipe\.json: cannot be read: is no file, but a pipe or a device"):
        locate(settings(folder))


def test_an_adapter_as_a_reference_is_told_what_to_do_with_it(small_llama: Path, tmp_path: Path) -> None:
    adapter = save_lora(small_llama, tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"CONGRAD_REFERENCE=.* a reference is a whole model: merge the adapter"):
        locate(settings(small_llama, reference=str(adapter)))


def test_the_home_of_a_user_whom_nobody_knows_is_no_folder() -> None:
    with pytest.raises(CheckpointError, match="CONGRAD_MODEL=~nobody-here/model: no home directory is known"):
        locate(settings(Path("~nobody-here/model")))


def _write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"{}")
    return folder


def test_chat_templates_in_a_folder_of_their_own_count(small_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_llama, tmp_path / "model")
    before = locate(settings(folder)).fingerprint
    template = folder / "additional_chat_templates" / "tool_use.jinja"
    template.parent.mkdir()
    found = []
    for text in ("{{ messages }}", "{{ tools }}"):
        template.write_text(text, encoding="utf-8")
        found.append(locate(settings(folder)))
    assert len({before, *(one.fingerprint for one in found)}) == 3
    with pytest.raises(CheckpointError, match=r"tool_use\.jinja was changed"):
        found[0].check_unchanged()


def test_an_adapter_beside_a_model_is_refused(small_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_llama, tmp_path / "model")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds a PEFT adapter beside the model"):
        locate(settings(folder))
