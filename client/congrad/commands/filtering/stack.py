"""A stack of a run's own: brought up for it, and gone after it."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from congrad.commands.filtering.journal import Journal
from congrad.commands.terminal.options import SERVICE
from congrad.commands.terminal.output import INTERRUPTED, WRONG, err, fail
from congrad.commands.terminal.signals import interrupt_on_signals
from congrad.local.checkpoint import check_checkpoint
from congrad.local.redis_server import StartError
from congrad.local.stack import Stack, StackOptions, running_stack

Model = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        rich_help_panel=SERVICE,
        help="Folder or hub name of a checkpoint: Redis, a worker and a service on it are brought up for this run, and "
        "stopped and cleaned up after it, in place of the service at --url.",
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(metavar="PATH", rich_help_panel=SERVICE, help="With --model: a PEFT adapter on it."),
]


def settings_of(model: str | None, adapter: str | None) -> dict[str, str]:
    """The settings of the stack; none without a checkpoint.

    Ends the command where one of them cannot be what it is given as.

    :raises typer.BadParameter: there is an adapter without one.
    """
    if model is None:
        if adapter is not None:
            raise typer.BadParameter("--adapter is on a checkpoint: give --model too")
        return {}
    try:
        check_checkpoint(model, adapter)
    except StartError as error:
        fail(str(error), WRONG)
    return {"CONGRAD_MODEL": model} | ({} if adapter is None else {"CONGRAD_ADAPTER": adapter})


@contextmanager
def own_stack(settings: Mapping[str, str], path: Path | None, journal: Journal) -> Iterator[Stack]:
    """A stack that lasts as long as the block. Its data lie beside the journal until the run has come to its end, so
    that the same command goes on where it was cut short. Without an answer there is nothing to go on with.

    :param path: where the journal lies, locked by the caller; None where that is nowhere.
    """
    folder = _temporary() if path is None else path.with_name(f"{path.name}.d")
    if not journal.rows:  # what is left of an earlier stack is of other rows, perhaps
        shutil.rmtree(folder, ignore_errors=True)
    interrupt_on_signals()
    options = StackOptions(folder, port=0, environment=settings, log=folder / "log")
    try:
        with _starting(options) as stack:
            yield stack
    except BaseException:
        if path is None or not journal.rows:
            journal.is_of_use = False
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _temporary() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="congrad-"))
    except OSError as error:
        fail(f"no temporary folder can be made ({error.strerror}); TMPDIR names a folder for it", WRONG)


@contextmanager
def _starting(options: StackOptions) -> Iterator[Stack]:
    with ExitStack() as running:
        try:
            with err.status("Starting Redis, a gradients worker, a decide worker and the service …"):
                stack = running.enter_context(running_stack(options))
        except StartError as error:
            fail(str(error), WRONG)
        except KeyboardInterrupt:
            fail("interrupted while the stack started; nothing was sent", INTERRUPTED)
        yield stack
