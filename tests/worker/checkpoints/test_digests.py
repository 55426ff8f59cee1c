"""A file is read for its digest once, as long as it is what it was."""

import hashlib
import os
from pathlib import Path

import pytest
from congrad_worker.checkpoints import digests
from congrad_worker.checkpoints.digests import LARGE, contents

OLD = 1_700_000_000


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where digests are kept on the disk; this process knows none."""
    monkeypatch.setattr(digests, "KEPT", tmp_path / "cache" / "digests.json")
    monkeypatch.setattr(digests, "_known", {})
    return tmp_path / "cache" / "digests.json"


def write(path: Path, content: bytes, at: int = OLD) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at, at))
    return path


def digest(folder: Path) -> str:
    ((_, found, _),) = contents(folder, ["*.safetensors"]).files
    return found


def forget() -> None:
    """As another process begins."""
    digests._known.clear()


def test_a_large_file_is_read_once_by_all_processes(kept: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "model" / "model.safetensors", b"x" * LARGE)
    truth = hashlib.sha256(b"x" * LARGE).hexdigest()
    assert digest(file.parent) == truth
    forget()
    kept.write_text(kept.read_text().replace(truth, "told"))
    assert digest(file.parent) == "told", "it was read again"


@pytest.mark.parametrize("change", ["its content", "its size", "its time", "its inode"])
def test_a_file_that_was_changed_is_read_again(change: str, kept: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "model" / "model.safetensors", b"x" * LARGE)
    before = contents(file.parent, ["*.safetensors"])
    kept.write_text(kept.read_text().replace(before.files[0][1], "told"))
    forget()
    new = b"y" * (LARGE + (change == "its size"))
    if change == "its inode":
        write(file.with_name("new"), new).replace(file)
    else:
        write(file, new, OLD + 1)
    assert digest(file.parent) == hashlib.sha256(new).hexdigest()
    assert before.changed == "model.safetensors was changed after it was looked at"


def test_a_file_that_has_just_been_written_may_be_written_again_within_the_tick_of_a_clock(
    kept: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"x" * LARGE)
    about = file.stat()
    assert digest(file.parent) == hashlib.sha256(b"x" * LARGE).hexdigest()
    assert not kept.exists()
    with file.open("r+b") as opened:
        opened.write(b"y")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert digest(file.parent) != hashlib.sha256(b"x" * LARGE).hexdigest()


def test_where_nothing_can_be_kept_files_are_read_all_the_same(kept: Path, tmp_path: Path) -> None:
    kept.parent.write_text("no folder")
    file = write(tmp_path / "model" / "model.safetensors", b"x" * LARGE)
    assert digest(file.parent) == hashlib.sha256(b"x" * LARGE).hexdigest()


def test_contents_name_a_file_that_is_gone(tmp_path: Path) -> None:
    file = write(tmp_path / "model" / "a.json", b"{}")
    found = contents(file.parent, ["*.json"])
    assert found.changed is None
    file.unlink()
    assert found.changed == "a.json can no longer be read (No such file or directory)"
    file.parent.rmdir()
    assert found.changed == f"{file.parent} is no longer there"
