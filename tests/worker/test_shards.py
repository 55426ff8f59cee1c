"""Files of a gradient store: written once, never seen half-written, and gone with their folder; on a disk, in an object
store, and in a file system of which nothing is known."""

import hashlib
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest
from congrad_worker.errors import ShardStoreError, WorkerError
from congrad_worker.shards import PARTIAL, SUFFIX, ShardStore
from support.object_store import ObjectStore

JOB = "0" * 32


@pytest.fixture(params=["file", "s3"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> ShardStore:
    if request.param == "file":
        return ShardStore(f"file://{tmp_path}/not/yet/there")
    objects: ObjectStore = request.getfixturevalue("object_store")
    return ShardStore(objects.new_bucket())


def test_what_is_written_is_read_again_and_goes_with_its_folder(shards: ShardStore) -> None:
    first, second = shards.put(JOB, "000000", b"a" * 1000), shards.put(JOB, "000001", b"")
    other = shards.put("1" * 32, "000000", b"a" * 1000)
    assert first.startswith(f"{JOB}/000000-")
    assert [shards.get(name) for name in (first, second)] == [b"a" * 1000, b""]
    assert shards.get(first.replace("000000", "000002")) is None
    assert [shards.free(JOB), shards.free(JOB)] == [True, False]
    assert shards.get(first) is None
    assert shards.get(other) == b"a" * 1000


def test_the_same_content_has_one_name_and_other_content_another(shards: ShardStore) -> None:
    names = [shards.put(JOB, "000000", content) for content in (b"one", b"one", b"two")]
    assert names[0] == names[1] != names[2]
    assert [shards.get(name) for name in names] == [b"one", b"one", b"two"]


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    """Whoever looks at any time sees files that are whole, or under another name."""
    shards, content, stop = ShardStore(f"file://{tmp_path}"), bytes(2**20), threading.Event()
    seen: set[int] = set()

    def look() -> None:
        while not stop.is_set():
            seen.update(path.stat().st_size for path in tmp_path.glob(f"{JOB}/*.safetensors"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(20):
            shards.put(JOB, f"{number:06d}", content)
    finally:
        stop.set()
        thread.join()
    assert seen <= {len(content)}
    assert not list(tmp_path.rglob(f"*{PARTIAL}"))


WRITER = """
import sys
from congrad_worker.shards import ShardStore
shards = ShardStore(sys.argv[1])
for number in range(1_000):
    shards.put("0" * 32, f"{number:06d}", bytes([number % 256]) * 2**21)
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_no_file_that_is_not_whole(shards: ShardStore) -> None:
    url = f"{shards._kind}://{shards._root}"
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, env=os.environ) as writer:
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        writer.kill()
    system, root = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    names = [path.rpartition("/")[2] for path in system.find(root) if path.endswith(SUFFIX)]
    assert len(names) >= 3
    for name in names:
        content = shards.get(f"{JOB}/{name}")
        assert content is not None
        assert hashlib.blake2b(content, digest_size=16).hexdigest() in name
    assert shards.free(JOB)
    assert system.find(root) == []


def test_what_a_killed_writer_left_goes_with_the_folder(tmp_path: Path) -> None:
    shards = ShardStore(f"file://{tmp_path}")
    shards.put(JOB, "000000", b"whole")
    (tmp_path / JOB / f"000001-abc.safetensors.x{PARTIAL}").write_bytes(b"hal")
    assert shards.free(JOB)
    assert not (tmp_path / JOB).exists()


def test_a_disk_that_has_no_room_keeps_nothing_of_what_did_not_fit(tmp_path: Path) -> None:
    """Else each try would leave a piece, and the next one had less room than the first."""
    shards = ShardStore(f"file://{tmp_path}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # a full disk's errors, of this process alone
    try:
        with pytest.raises(ShardStoreError, match=r"the gradient store \(file\) fails: File too large"):
            shards.put(JOB, "000000", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / JOB).iterdir()) == []


def test_a_disk_that_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    shards = ShardStore(f"file://{tmp_path}")
    (tmp_path / JOB).write_text("no folder")
    with pytest.raises(ShardStoreError, match=r"the gradient store .file. fails: (File exists|Not a directory)"):
        shards.put(JOB, "000000", b"x")


def test_files_of_a_folder_that_is_away_are_not_gone(tmp_path: Path) -> None:
    """Whoever moved it, or has not mounted it again: what waits for a store that fails waits for that too."""
    store, away = tmp_path / "store", tmp_path / "away"
    shards = ShardStore(f"file://{store}")
    name = shards.put(JOB, "000000", b"content")
    store.rename(away)
    for ask in (lambda: shards.get(name), lambda: shards.view(name), lambda: shards.free(JOB)):
        with pytest.raises(ShardStoreError, match=r"the gradient store \(file\) fails: No such file or directory"):
            ask()
    away.rename(store)
    assert shards.get(name) == b"content"
    assert shards.free(JOB)


def test_an_object_store_that_refuses_is_told_without_its_keys(object_store: ObjectStore) -> None:
    shards = ShardStore("s3://there-is-no-such-bucket/gradients")
    with pytest.raises(ShardStoreError) as told:
        shards.put(JOB, "000000", b"x")
    assert "the gradient store (s3) fails: " in str(told.value)
    for secret in (object_store.secret, object_store.url, "there-is-no-such-bucket"):
        assert secret not in str(told.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nowhere://x", "nowhere:// is no file system that fsspec knows"),
        ("file:///proc/x/y", "/proc/x/y cannot be made"),
    ],
)
def test_a_store_that_is_not_to_be_had_is_told_in_one_line(url: str, words: str) -> None:
    with pytest.raises(WorkerError) as told:
        ShardStore(url)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_system_of_which_nothing_is_known_gets_files_by_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Any] = []
    shards = ShardStore(f"local://{tmp_path}")
    move = shards._system.mv

    def noted(*args: Any, **options: Any) -> Any:
        moved.append(args)
        return move(*args, **options)

    monkeypatch.setattr(shards._system, "mv", noted)
    name = shards.put(JOB, "000000", b"content")
    ((source, target),) = moved
    assert source.endswith(PARTIAL)
    assert target == f"{tmp_path}/{name}"
    assert shards.get(name) == b"content"
    assert shards.free(JOB)


def test_such_a_file_system_keeps_nothing_of_what_it_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = ShardStore(f"local://{tmp_path}")

    def cut_off(path: str, content: bytes) -> None:
        Path(path).write_bytes(content[:3])
        raise OSError

    monkeypatch.setattr(shards._system, "pipe_file", cut_off)
    with pytest.raises(ShardStoreError):
        shards.put(JOB, "000000", b"content")
    assert list((tmp_path / JOB).iterdir()) == []
