"""Parts of a stack as processes."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from congrad.local.part import Part, Program, no_interrupt_lost

WAITS = Program("waiting", [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)

interrupting: list[int] = []
"""Signals that come while a process is forked, where Python swallows what a handler raises."""


def interrupt() -> None:
    while interrupting:
        signal.raise_signal(interrupting.pop())


os.register_at_fork(after_in_parent=interrupt)


@contextmanager
def raising(number: int) -> Iterator[None]:
    """A handler that ends a command."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_a_part_starts_is_not_lost(number: int) -> None:
    parts: list[Part] = []
    with raising(number):
        interrupting.append(number)
        with pytest.raises(KeyboardInterrupt), no_interrupt_lost():
            parts.append(Part(WAITS, None))
        assert not interrupting
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert parts[0].status is None
    parts[0].kill()
    assert parts[0].status == -signal.SIGKILL
