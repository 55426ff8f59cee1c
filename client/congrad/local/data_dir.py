"""The folder that a stack keeps its data in: its user's alone, for texts of samples are in it, and one stack's."""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from congrad.local.redis_server import StartError

LOCK = "lock"

OURS = ("appendonly*", "dump.rdb", "temp-*.aof", "temp-*.rdb", "redis.conf", "redis.log", LOCK)
"""What Redis and we write there."""

ORPHAN_S = 10.0
"""How long a Redis may take to end whose stack was killed: it writes its file first."""

TICK_S = 0.1


@contextmanager
def held(data_dir: Path) -> Iterator[int]:
    """Makes the folder ready and holds it: two servers that write one append-only file would destroy it.

    Gives the descriptor of the lock. A process that inherits it holds the folder too: Redis has to, which may outlive
    the stack that has started it.

    :raises StartError: it cannot be used, or another stack holds it.
    """
    with usable(data_dir):
        _make_private(data_dir)
        # It is never removed: of a removed file and its successor two processes could each hold the lock.
        file = os.fdopen(os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, mode=0o600), "r+")
    with file:
        _take(file, data_dir)
        yield file.fileno()


@contextmanager
def usable(data_dir: Path) -> Iterator[None]:
    """Around what is done with files in the folder.

    :raises StartError: that cannot be done.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StartError(f"{data_dir} cannot be used to keep data in ({reason}); give another --data-dir") from None


def _make_private(data_dir: Path) -> None:
    """Closes it to other users, with what an earlier version has left open.

    :raises OSError: it is none of this user's.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if data_dir.stat().st_mode & stat.S_ISVTX:
        raise OSError(errno.EPERM, "it is shared by all users")
    ours = {path for pattern in OURS for path in data_dir.glob(pattern)}
    if ours >= set(data_dir.iterdir()):  # a folder in which somebody has other things stays as it is
        data_dir.chmod(0o700)
    for path in ours:
        for one in (path, *path.rglob("*")):
            one.chmod(0o700 if one.is_dir() else 0o600)


def _take(file: IO[str], data_dir: Path) -> None:
    """:raises StartError: another process holds the lock."""
    deadline = time.monotonic() + ORPHAN_S
    while not _is_taken(file):
        file.seek(0)
        holder = file.read().strip()
        if _is_there(holder):
            raise StartError(
                f"{data_dir} is in use by another `congrad up` (process {holder}); give this one a --data-dir"
            )
        if time.monotonic() > deadline:
            raise StartError(
                f"{data_dir} is in use by a Redis that a killed `congrad up` has left behind; end it, or give another "
                "--data-dir"
            )
        time.sleep(TICK_S)
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()


def _is_taken(file: IO[str]) -> bool:
    """Whether it is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(process: str) -> bool:
    """Whether a process of this number runs."""
    if not process.isdecimal():
        return True  # of a version that noted none
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
