"""What the child of a worker tells its parent and health checks: that it has announced itself, or why it cannot start,
and which queue has work for it.

It leaves that in a folder whose name tells the parent's process. To look there costs a few system calls, and imports
the standard library only: a container is asked for its health every few seconds, for ever. Redis is not asked: that it
is away says nothing against a worker, which would have to load its checkpoint anew if it were started again for it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = "CONGRAD_WORKER_FOLDER"
"""Names the folder to the child."""

PREFIX = "congrad-worker-"
ANNOUNCED = "announced"
FAILURE = "failure"
STARTED = "started"
QUEUE = "queue"


@contextmanager
def folder() -> Iterator[None]:
    """The folder of this process, a worker, and of the child that it will have.

    :raises OSError: it cannot be made.
    """
    prefix = f"{PREFIX}{os.getpid()}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):  # by one that was killed, and had the same number
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        os.environ[FOLDER] = name
        if (started := _started(os.getpid())) is not None:
            _leave(STARTED, started)
        yield


def announced() -> None:
    """Says that this process, the child of a worker, has announced itself."""
    with suppress(OSError):  # a full disk must not silence the heartbeat
        _leave(ANNOUNCED, str(os.getpid()))


def failed(reason: str) -> None:
    """Says why this process, the child of a worker, cannot start."""
    _leave(FAILURE, reason)


def failure() -> str | None:
    """Why the child of this process could not start; None if it has not said so."""
    return _read(Path(os.environ[FOLDER], FAILURE))


def serves(queue: str) -> None:
    """Says which queue this process, the child of a worker, wants messages from."""
    _leave(QUEUE, queue)


def queue() -> str | None:
    """Which queue the child of this process wants messages from; None if it has not said so."""
    return _read(Path(os.environ[FOLDER], QUEUE))


def are_good() -> bool:
    """Whether there are workers in this container (outside one: of this user on this machine), and the child of each
    has announced itself and is still there."""
    try:
        folders = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
    except FileNotFoundError:  # no folder can be written to, so that no worker runs either
        return False
    workers = [path for path in folders if _has_its_process(path) and _is_ours(path)]
    return bool(workers) and all(_runs(_read(path / ANNOUNCED)) for path in workers)


def _leave(name: str, text: str) -> None:
    if (path := os.environ.get(FOLDER)) is not None:
        new = Path(path, f"{name}.new")
        new.write_text(text, encoding="utf-8")
        new.replace(Path(path, name))  # at once: nobody reads half of it


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # not there, or another user's
        return None


def _has_its_process(path: Path) -> bool:
    """Whether the process that a folder is named after is there. A worker that was killed leaves its folder behind, and
    sooner or later another process has its number."""
    process = path.name.removeprefix(PREFIX).partition("-")[0]
    return _runs(process) and _read(path / STARTED) in (None, _started(process))


def _started(process: int | str) -> str | None:
    """When a process started, as Linux counts it; None where nothing says so."""
    status = _read(Path("/proc", str(process), "stat"))
    return None if status is None else status.rpartition(")")[2].split()[19]  # its name comes before, with any spaces


def _is_ours(path: Path) -> bool:
    """Whether a folder tells this user anything: that of another cannot be read, and anybody can make one of the name.
    The administrator may ask for those of all."""
    user = os.geteuid()
    try:
        return user == 0 or path.stat().st_uid == user
    except OSError:  # gone by now
        return False


def _runs(process: str | None) -> bool:
    try:
        os.kill(int(process or ""), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # another user's
    return True
