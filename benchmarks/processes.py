"""Memory and processor time of the processes of a stack that this one has started, as Linux counts them, and their
end."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PARTS = {
    "service": ("congrad_service",),
    "gradients worker: Celery": ("congrad_worker\0gradients",),
    "gradients worker: engine": ("congrad_worker\0gradients", "spawn_main"),
    "decide worker: Celery": ("congrad_worker\0decide",),
    "decide worker: decisions": ("congrad_worker\0decide", "spawn_main"),
    "Redis": ("redis-server",),
}
"""What stands in the command of a process of the stack; where it is a child, first in its parent's."""


def part_pids() -> dict[str, int]:
    """The processes, by name."""
    return {name: next(_matching(os.getpid(), commands)) for name, commands in PARTS.items()}


def child_pid(command: str) -> int:
    """The process of the pool of a worker that this one has started with ``command``."""
    return next(_matching(os.getpid(), (command, "spawn_main")))


def tree_cpu_s(command: str) -> float:
    """The processor time, in seconds, of the processes that this one has started with ``command`` and of all that these
    have started."""
    return sum(cpu_s(pid) for first in _matching(os.getpid(), (command,)) for pid in _with_descendants(first))


def tree_mib(command: str) -> float:
    """What the processes that this one has started with ``command``, and all that these have started, have in memory;
    what several share counts for each in part (PSS)."""
    return sum(_shared_mib(pid) for first in _matching(os.getpid(), (command,)) for pid in _with_descendants(first))


def kill_half(command: str) -> int:
    """Kills every second process that one with ``command`` has started, and its child, at once; how many that were."""
    started = [pid for first in _matching(os.getpid(), (command,)) for pid in _children(first)][::2]
    for pid in [descendant for parent in started for descendant in _with_descendants(parent)]:
        os.kill(pid, signal.SIGKILL)
    return len(started)


def resident_mib(pid: int) -> float:
    """What a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def cpu_s(pid: int) -> float:
    """The processor time that a process has taken so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _shared_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _with_descendants(pid: int) -> Iterator[int]:
    yield pid
    for child in _children(pid):
        yield from _with_descendants(child)


def _children(pid: int) -> Iterator[int]:
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from map(int, file.read_text().split())


def _matching(parent: int, commands: tuple[str, ...]) -> Iterator[int]:
    for pid in _children(parent):
        with suppress(OSError):
            if commands[0] in Path(f"/proc/{pid}/cmdline").read_text():
                yield from _matching(pid, commands[1:]) if commands[1:] else [pid]
