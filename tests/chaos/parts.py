"""One part of a stack as a process that can be killed, and started again as a supervisor would."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, Popen

from congrad.local.part import end_with_parent


class Role(StrEnum):
    """What a part is for."""

    REDIS = "redis"
    GRADIENTS = "gradients"
    DECIDE = "decide"
    SERVICE = "service"


@dataclass(eq=False)
class Part:
    """One process, in whichever life it is.

    ``ready`` says since when this life does its work, in seconds since 1970 as the jobs have them; ``spans`` has from
    and to when earlier ones did. ``due`` is when a part that has ended is to be started again; ``struck`` says that its
    end is expected, and that until then it is not ready whatever it still answers.
    """

    role: Role
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: Popen[bytes] | None = None
    ready: float | None = None
    due: float | None = None
    struck: bool = False
    spans: list[tuple[float, float]] = field(default_factory=list)
    _killed_child: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process, or of the one that has ended."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Starts it, in a group of its own that ends with this thread."""
        self.due, self.struck = None, False
        with self.log.open("ab") as log:
            self.process = Popen(
                self.command,
                env=dict(self.environment),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(end_with_parent, signal.SIGKILL),
            )

    def kill(self) -> None:
        """Ends it at once, with the processes that it has started."""
        self._signal_all(signal.SIGKILL)
        self.struck = True
        self.unready()

    def kill_child(self) -> None:
        """Ends the process of a worker's pool at once, if there is one."""
        if (child := self.child()) is not None:
            self._killed_child = child
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.unready()

    def terminate(self) -> None:
        """Tells it to stop: it alone, as an init system or a container's runtime does."""
        os.kill(self.pid, signal.SIGTERM)
        self.struck = True
        self.unready()

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Stops it in the middle of whatever it does, so that one can look at that."""
        self._signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def unready(self) -> None:
        """Notes that it has stopped its work, or is about to."""
        if self.ready is not None:
            self.spans.append((self.ready, time.time()))
            self.ready = None

    def child(self) -> int | None:
        """The process of a worker's pool, the only one that it has spawned to work; None while there is none, and not
        one that was killed here and takes a moment to be gone."""
        for file in Path(f"/proc/{self.pid}/task").glob("*/children"):
            for pid in file.read_text().split():
                with suppress(OSError):
                    if int(pid) != self._killed_child and _is_spawned(pid):
                        return int(pid)
        return None


def _is_spawned(pid: str) -> bool:
    """Whether a process runs what Celery's pool hands to a new interpreter, or to a fork that has a name for it."""
    return any("spawn_main" in Path(f"/proc/{pid}/{file}").read_text() for file in ("cmdline", "comm"))
