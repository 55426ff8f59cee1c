"""A progress bar on a terminal, or a line now and then where there is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from congrad.showing.passes import Passes

EVERY_S = 30.0
"""Between two lines: a log has room for them, and whoever waits looks again by then."""

COUNTED = 1_000
"""Rows of a file, of which nobody wants to see each."""


@contextmanager
def progress_bar(rows: int, wanted: bool | None, passes: int = 1, *, in_lines: bool = False) -> Iterator[Passes]:
    """Shows how many rows are done in all passes, and how long the rest will take; yields what is told of more.

    :param wanted: None for: where standard error is a terminal.
    :param in_lines: whether a line is printed now and then where it is none.
    """
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield passes_in_lines(rows, passes) if in_lines and wanted is None else Passes(rows, passes)
        return
    # Imported here: it takes longer than all else, and a training job on a cluster has no terminal.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Left(ProgressColumn):
        """The time that is left. Rich's own takes all passes for equally fast, and rows of an earlier run for done."""

        def render(self, task: Task) -> Text:  # noqa: ARG002 # there is one
            return Text(in_words(told.left_s), style="progress.remaining")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
    progress = Progress(*columns, console=Console(stderr=True))
    told = Passes(rows, passes, lambda: progress.update(task, completed=told.done))
    with progress:
        task = progress.add_task("filtering", total=told.total)
        yield told


@contextmanager
def row_counter(
    doing: str, *, in_lines: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Shows that a long file is being read or written; yields what is told of how many rows that was done to.

    :param in_lines: whether a line is printed now and then where standard error is no terminal.
    :param clock: seconds.
    """
    last = clock()

    def printed(rows: int) -> None:
        nonlocal last
        if rows % COUNTED == 0 and clock() - last >= EVERY_S:
            last = clock()
            print(f"{doing}: {rows:,} rows so far", file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        yield printed if in_lines else lambda _: None
        return
    from rich.console import Console  # as above

    with Console(stderr=True).status(doing) as status:
        yield lambda rows: None if rows % COUNTED else status.update(f"{doing}: {rows:,} rows so far")


def passes_in_lines(rows: int, passes: int, clock: Callable[[], float] = time.monotonic) -> Passes:
    """What is told of more, and prints a line on standard error where the last one is some time ago.

    :param clock: seconds.
    """
    last = clock()

    def changed() -> None:
        nonlocal last
        if told.done < told.total and clock() - last >= EVERY_S:
            last = clock()
            print(f"filtering: {told.done / told.total:.0%}, {in_words(told.left_s)}", file=sys.stderr, flush=True)

    told = Passes(rows, passes, changed, clock)
    return told


def in_words(seconds: float | None) -> str:
    """Such as `1:02:03 left`."""
    return "-:--:-- left" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
