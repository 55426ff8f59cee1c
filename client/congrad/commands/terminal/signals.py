"""Signals that end a command in order."""

import signal
from types import FrameType


def interrupt_on_signals() -> None:
    """A service manager's or a scheduler's SIGTERM ends the work as Ctrl-C does. SIGINT is set too: a shell's
    background jobs start with it ignored, and Python then leaves it so."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
