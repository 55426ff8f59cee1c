"""Memory of the processes of a stack that this process has started, as Linux counts it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PARTS = {
    "service": ("congrad_service",),
    "gradients worker": ("congrad_worker\0gradients", "spawn_main"),
    "decide worker": ("congrad_worker\0decide", "spawn_main"),
}
"""What stands in the command of a part, and in that of its child which does the work, if it has one."""


def part_pids() -> dict[str, int]:
    """The processes that do the work, by the name of their part."""
    return {name: next(_matching(os.getpid(), commands)) for name, commands in PARTS.items()}


def resident_mib(pid: int) -> float:
    """What a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _matching(parent: int, commands: tuple[str, ...]) -> Iterator[int]:
    for file in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in file.read_text().split():
            with suppress(OSError):
                if commands[0] in Path(f"/proc/{pid}/cmdline").read_text():
                    yield from _matching(int(pid), commands[1:]) if commands[1:] else [int(pid)]
