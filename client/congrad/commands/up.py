"""`congrad up`: the whole stack on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, TextIO

import typer

from congrad.commands.terminal.options import AsJson
from congrad.commands.terminal.output import FAILED, WRONG, fail, print_json, say, say_warnings
from congrad.commands.terminal.signals import interrupt_on_signals
from congrad.local.checkpoint import check_checkpoint
from congrad.local.redis_server import StartError
from congrad.local.stack import StackFailedError, StackOptions, running_stack

OWN = ("CONGRAD_HOST", "CONGRAD_REDIS_URL", "CONGRAD_BROKER_URL")
"""Settings that a stack of this machine has by itself."""


def up(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Folder or hub name of the checkpoint; default: a toy that is shipped, to try things out.",
        ),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="PATH", help="Folder or hub name of a PEFT adapter on it.")
    ] = None,
    port: Annotated[
        int, typer.Option(envvar="CONGRAD_PORT", help="Port of the service; 0 for a free one.", min=0, max=65535)
    ] = 8000,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where Redis keeps directions and jobs; default: ~/.local/share/congrad."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Gradients workers; one for each GPU.", min=1)] = 1,
    decide_workers: Annotated[
        int, typer.Option(help="Decide workers, a core each: more for large second passes.", min=1)
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Runs Redis, workers and the service on this machine until Ctrl-C.

    Further settings are CONGRAD_* variables, which all parts read.

    [bold]Example[/]
      congrad up --model /models/my-policy --adapter /models/my-lora
    """
    interrupt_on_signals()
    say_warnings()
    for name in OWN:
        if os.environ.get(name):
            say(f"{name} is not looked at: what is brought up here has an address and a Redis of its own")
    result = _stdout_alone() if as_json else None
    folder = _folder(data_dir)
    options = StackOptions(folder, port, workers=workers, decide_workers=decide_workers)
    try:
        with (
            _checkpoint(model, adapter) as path,
            running_stack(replace(options, environment=_named(path, adapter))) as stack,
        ):
            served = " + ".join(filter(None, (path, adapter)))
            say(f"congrad is ready at {stack.url} with {served} (documentation: {stack.url}/docs). Ctrl-C stops it.")
            if result is not None:
                print_json({"url": stack.url, "data_dir": folder}, result)
            stack.wait()
    except KeyboardInterrupt:
        say(f"stopped; directions and unfinished jobs are kept in {folder}")
    except StackFailedError as error:
        fail(str(error), WRONG if error.status == WRONG else FAILED)
    except StartError as error:
        fail(str(error), WRONG)


def _named(model: str, adapter: str | None) -> dict[str, str]:
    """The settings that say what is served."""
    return {"CONGRAD_MODEL": model} | ({"CONGRAD_ADAPTER": adapter} if adapter is not None else {})


@contextmanager
def _checkpoint(model: str | None, adapter: str | None) -> Iterator[str]:
    """The checkpoint that is served: without one that is named, the toy that is shipped.

    :raises StartError: what is named cannot be one.
    """
    given = model or os.environ.get("CONGRAD_MODEL")
    if given:
        check_checkpoint(given, adapter)
        yield given
        return
    say(
        "without --model a toy is served, the tiny checkpoint that is shipped: it shows how things work, and its "
        "scores say nothing about your pairs"
    )
    with as_file(files("congrad").joinpath("demo_data", "checkpoint")) as shipped:
        yield str(shipped)


def _folder(data_dir: Path | None) -> Path:
    """Where the data are kept; ends the command where that would be below a home that nobody knows of, as for a user of
    a container that is a number only."""
    try:
        # A shell leaves the ~ of --data-dir=~/data as it is, and a folder of that name is soon removed by a wrong
        # command.
        return (data_dir or _default_data_dir()).expanduser()
    except RuntimeError:
        named = f"{data_dir}: " if data_dir else ""
        fail(f"{named}no home directory is known to keep data in; give --data-dir a folder by its whole path", WRONG)


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "congrad"


def _stdout_alone() -> TextIO:
    """Standard output for this process alone: what the parts print goes to standard error, and not into the JSON."""
    alone = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return alone
