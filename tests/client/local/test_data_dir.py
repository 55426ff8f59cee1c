"""The folder of a stack: nobody else's to read, and no two stacks'."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from congrad.local import data_dir as data_dirs
from congrad.local import redis_server
from congrad.local.data_dir import held
from congrad.local.part import Part
from congrad.local.redis_server import RedisConfig, StartError, configure, free_port, last_words, memory_limit
from congrad.local.stack import redis_program
from redis.backoff import ConstantBackoff
from redis.retry import Retry


def rights(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


def connected(config: RedisConfig) -> redis.Redis:
    """A connection to a Redis that starts."""
    return redis.Redis.from_url(config.url, retry=Retry(ConstantBackoff(0.05), 400))  # nothing tells that it listens


@contextmanager
def running_redis(folder: Path) -> Iterator[tuple[redis.Redis, Part]]:
    """A Redis as a stack runs it."""
    with held(folder) as lock:
        config = configure(folder, free_port())
        part = Part(redis_program(config, os.environ, lock), None)
        try:
            with connected(config) as connection:
                yield connection, part
        finally:
            part.stop()


@pytest.mark.parametrize("is_there", [False, True])
def test_what_redis_writes_is_for_its_user_alone(is_there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    if is_there:  # from an earlier version
        (folder / "appendonlydir").mkdir(parents=True)
        for name in ("appendonly.aof", "redis.log", "lock", "appendonlydir/appendonly.aof.1.incr.aof"):
            (folder / name).touch(mode=0o644)
            (folder / name).chmod(0o644)
        (folder / "appendonlydir").chmod(0o755)
        folder.chmod(0o755)
    with running_redis(folder) as (connection, _):
        connection.set("text", "of a sample")
        connection.bgrewriteaof()
        while connection.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.05)  # nothing tells that it is done
        assert rights(folder) == "drwx------"
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {"redis.conf", "redis.log", "lock"} < {path.name for path in files}
        assert any(path.name.startswith("appendonly") for path in files)
        assert {rights(path) for path in files} == {"-rw-------"}
        assert {rights(path) for path in folder.rglob("*") if path.is_dir()} <= {"drwx------"}


def test_other_things_in_the_folder_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "temp-notes" / "sub").mkdir(parents=True)
    (tmp_path / "temp-notes" / "sub" / "text").touch(mode=0o644)
    tmp_path.chmod(0o755)
    before = {path: rights(path) for path in [tmp_path, *tmp_path.rglob("*")]}
    with held(tmp_path):
        assert {path: rights(path) for path in before} == before


def test_redis_may_use_half_of_the_memory_and_evicts_nothing(tmp_path: Path) -> None:
    with running_redis(tmp_path) as (connection, _):
        assert connection.config_get("maxmemory") == {"maxmemory": str(memory_limit())}
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert 2**28 < memory_limit() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@pytest.mark.parametrize(("text", "is_less"), [("4294967296\n", True), ("max\n", False), (str(2**63), False)])
def test_a_container_may_have_less_memory_than_its_machine(
    text: str, is_less: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(redis_server, "CONTROL_GROUP", (tmp_path / "memory.max", tmp_path / "nowhere"))
    assert memory_limit() == min(2**32 if is_less else machine, machine) // 2


def test_a_folder_that_another_stack_holds_is_refused_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with held(tmp_path), pytest.raises(StartError, match=f"another `congrad up` \\(process {os.getpid()}\\)"):
        held(tmp_path).__enter__()
    assert time.monotonic() - begun < data_dirs.ORPHAN_S / 2


ORPHAN = """
import os, sys
from pathlib import Path
from congrad.local.data_dir import held
from congrad.local.part import Part
from congrad.local.redis_server import configure, free_port
from congrad.local.stack import redis_program
import congrad.local.part
congrad.local.part.end_with_parent = lambda number: None  # a Redis that takes its time
folder = Path(sys.argv[1])
with held(folder) as lock:
    config = configure(folder, free_port())
    part = Part(redis_program(config, os.environ, lock), None)
    print(config.url, part._process.pid, flush=True)
    sys.stdin.read()
"""
"""A stack that does not get to stop its Redis."""


@contextmanager
def left_behind(folder: Path) -> Iterator[tuple[str, int]]:
    """The URL and the process of a Redis whose stack was killed."""
    command = [sys.executable, "-c", ORPHAN, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stack:
        assert stack.stdout is not None
        url, pid = stack.stdout.readline().split()
        with redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 400)) as connection:
            connection.ping()
        stack.kill()
    try:
        yield url, int(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_a_redis_that_outlives_its_stack_holds_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_dirs, "ORPHAN_S", 0.3)
    with left_behind(tmp_path), pytest.raises(StartError, match="a Redis that a killed `congrad up` has left behind"):
        held(tmp_path).__enter__()


def test_once_it_has_ended_the_folder_can_be_had(tmp_path: Path) -> None:
    with left_behind(tmp_path) as (url, _), redis.Redis.from_url(url) as connection:
        connection.set("kept", "1")
        connection.shutdown()
        with running_redis(tmp_path) as (other, _):
            assert other.get("kept") == b"1"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: (folder / "file").write_text(""), "Not a directory"),
        (lambda folder: (folder / "file").symlink_to("/proc"), "cannot be used"),
        (lambda folder: (folder / "file").symlink_to("/tmp"), "shared by all users"),  # noqa: S108
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(make: object, reason: str, tmp_path: Path) -> None:
    make(tmp_path)  # type: ignore[operator]
    folder = tmp_path / "file" / ("data" if (tmp_path / "file").is_file() else "")
    with pytest.raises(StartError) as raised:
        held(folder).__enter__()
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_redis_cannot_read_is_said_with_where_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\nnonsense" * 100)
    with held(tmp_path) as lock:
        config = configure(tmp_path, free_port())
        part = Part(redis_program(config, os.environ, lock), None)
        while part.status is None:
            time.sleep(0.05)
    assert part.status == 1
    assert "append only file" in last_words(config.log)
