"""One process of a stack."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import IO

STOP_S = 30
"""How long a process may take to finish what it is doing; a worker's soft shutdown takes up to 10 of them."""

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""

ENDING = (signal.SIGINT, signal.SIGTERM)

OWN_WORDS = "congrad "
"""How a line begins that a part writes when it cannot go on, such as ``congrad worker: …``."""

LAST_LINES = 10


@dataclass(frozen=True)
class Program:
    """What a part runs.

    :param orphaned: the signal that it gets if the stack is killed and cannot. Without Redis nothing else ends in
        order; tasks that were under way come back, so nothing is lost.
    :param umask: which rights its files do not get; -1 for those of the stack.
    :param inherits: descriptors of files that it has too.
    :param log: the file that it logs to, where that is one of its own.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    orphaned: int = signal.SIGKILL
    umask: int = -1
    inherits: Sequence[int] = ()
    log: Path | None = None


class Part:
    """A running program. It gets a session of its own, so that Ctrl-C in the terminal reaches the stack only, which
    then stops the parts in order.

    :param log: where it writes; the terminal if None.
    """

    def __init__(self, program: Program, log: IO[bytes] | None):
        self.program = program
        self._log = log
        self._process = self._started()

    @property
    def name(self) -> str:
        """What it is called."""
        return self.program.name

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def start_again(self) -> None:
        """Once it has ended."""
        self._process = self._started()

    def kill(self) -> None:
        """Ends it at once, with the processes that it has started."""
        if self.status is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Ends it in order, as far as it lets itself be."""
        if self.status is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except TimeoutExpired:
                self.kill()

    def _started(self) -> Popen[bytes]:
        program = self.program
        return Popen(
            program.command,
            env=dict(program.environment),
            stdin=DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            umask=program.umask,
            pass_fds=program.inherits,
            # Kept this short: code between fork and exec hangs on a lock that another thread held. And it is the thread
            # that forks, here the main one, whose end the kernel takes for the parent's.
            preexec_fn=partial(end_with_parent, program.orphaned) if sys.platform == "linux" else None,
        )


def said_at_the_end(log: Path) -> list[str]:
    """Why a part has ended, from the file that all parts write to: what it says of that itself, else the last lines."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.startswith(OWN_WORDS)] or lines[-LAST_LINES:]


@contextmanager
def no_interrupt_lost() -> Iterator[None]:
    """Signals that end a command take effect after the block. Python calls functions of its own library around a fork,
    and swallows what a handler raises in them."""
    if threading.current_thread() is not threading.main_thread():  # only that one has handlers
        yield
        return
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda *got: came.append(got[0])) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)


def end_with_parent(number: int) -> None:
    """Asks Linux to send this process a signal when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
