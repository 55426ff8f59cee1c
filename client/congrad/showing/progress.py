"""A progress bar on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from congrad.showing.passes import Passes


@contextmanager
def progress_bar(rows: int, wanted: bool | None, passes: int = 1) -> Iterator[Passes]:
    """Shows how many rows are done in all passes, and how long the rest will take; yields what is told of more.

    :param wanted: None for: where standard error is a terminal.
    """
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield Passes(rows, passes)
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


def in_words(seconds: float | None) -> str:
    """Such as `1:02:03 left`."""
    return "-:--:-- left" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
