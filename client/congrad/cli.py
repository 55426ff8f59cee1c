"""The `congrad` command. Exit status: 0 done, 1 the work failed, 2 an argument, file or setting is wrong."""

import os
import signal
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from congrad import wire
from congrad.client import DEFAULT_BASE_URL, Client
from congrad.demo import run_demo
from congrad.errors import CongradError
from congrad.jsonl import FileError, Row, read_rows, write_dropped, write_kept
from congrad.redis_server import StartError
from congrad.stack import StackFailedError, StackOptions, running_stack
from congrad.tables import summary_table

app = typer.Typer(
    help="Filters multilingual preference pairs by gradient consensus.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True, highlight=False)


class Within(StrEnum):
    """What a kept fraction is taken of."""

    LANGUAGE = "language"
    REQUEST = "request"
    STREAM = "stream"


@app.command()
def up(
    model: Annotated[str, typer.Option(help="Folder or hub name of the checkpoint.")],
    adapter: Annotated[str | None, typer.Option(help="Folder or hub name of a PEFT adapter on it.")] = None,
    port: Annotated[int, typer.Option(help="Port of the service; 0 for a free one.", min=0, max=65535)] = 8000,
    data_dir: Annotated[Path | None, typer.Option(help="Where Redis keeps directions and jobs.")] = None,
    workers: Annotated[int, typer.Option(help="Gradients workers; one for each GPU.", min=1)] = 1,
) -> None:
    """Runs Redis, workers and the service on this machine until Ctrl-C. Further settings: CONGRAD_* variables."""
    environment = {"CONGRAD_MODEL": model} | ({"CONGRAD_ADAPTER": adapter} if adapter is not None else {})
    options = StackOptions(data_dir or _default_data_dir(), port, workers=workers, environment=environment)
    _interrupt_on_signals()
    try:
        with running_stack(options) as stack:
            err.print(f"congrad is ready at {stack.url} (documentation: {stack.url}/docs). Ctrl-C stops it.")
            stack.wait()
    except KeyboardInterrupt:
        err.print("stopped; directions and unfinished jobs are kept in", str(options.data_dir))
    except StackFailedError as error:
        _fail(str(error), 2 if error.status == 2 else 1)
    except StartError as error:
        _fail(str(error), 2)


@app.command("filter")
def filter_file(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Rows with language, chosen, rejected, prompt.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the kept rows go, as they were read.")],
    dropped: Annotated[Path | None, typer.Option(help="Where the dropped rows go, with their decisions.")] = None,
    url: Annotated[str | None, typer.Option(help=f"The service; or CONGRAD_BASE_URL; {DEFAULT_BASE_URL}.")] = None,
    direction: Annotated[str, typer.Option(help="The running direction to score against.")] = "default",
    update: Annotated[bool, typer.Option(help="Fold the rows into the direction.")] = True,
    max_conflict: Annotated[float, typer.Option(help="Keep rows with at most this conflict score.")] = 0.0,
    keep: Annotated[float | None, typer.Option(help="Instead: keep this fraction, from 0 to 1.", min=0, max=1)] = None,
    within: Annotated[Within, typer.Option(help="What --keep is a fraction of.")] = Within.LANGUAGE,
    batch_size: Annotated[int, typer.Option(help="Rows in one request.", min=1)] = 256,
) -> None:
    """Filters a file of preference pairs through a running service."""
    selection: wire.ThresholdSelection | wire.FractionSelection
    try:
        rows = read_rows(source)
        if keep is not None:
            selection = wire.FractionSelection(kind="fraction", keep=keep, within=within.value)
        else:
            selection = wire.ThresholdSelection(max_conflict=max_conflict)
    except (FileError, ValueError) as error:
        _fail(str(error), 2)
    if not rows:
        _fail(f"{source}: holds no rows", 2)
    for path in filter(None, (output, dropped)):
        if not path.resolve().parent.is_dir():
            _fail(f"{path}: there is no such folder", 2)
    decisions: list[wire.Decision] = []
    try:
        with Client(url) as client, _progress() as progress:
            bar = progress.add_task("filtering", total=len(rows))
            for batch in _batches(rows, batch_size):
                samples = [row.sample for row in batch]
                result = client.filter(samples, direction=direction, update=update, selection=selection)
                decisions += result.decisions
                progress.advance(bar, len(batch))
    except CongradError as error:
        done = f"rows before line {rows[len(decisions)].number} have decisions, the others have none; "
        _fail(f"{error}\n{done if decisions else ''}nothing was written", 1)
    write_kept(output, rows, decisions)
    if dropped is not None:
        write_dropped(dropped, rows, decisions)
    out.print(summary_table(decisions))


@app.command()
def demo() -> None:
    """Brings up everything on a tiny checkpoint, filters a small real batch, prints the table, stops."""
    _interrupt_on_signals()
    descriptor, name = tempfile.mkstemp(prefix="congrad-demo-", suffix=".log")
    os.close(descriptor)
    log = Path(name)
    try:
        run_demo(out, log)
    except CongradError as error:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        err.print(tail, markup=False)
        _fail(f"{error}; the whole log: {log}", 2 if isinstance(error, StartError) else 1)
    log.unlink()


def main() -> None:
    """Entry point."""
    app()


def _fail(message: str, status: int) -> NoReturn:
    err.print(f"congrad: {message}", markup=False, soft_wrap=True)
    raise typer.Exit(status)


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "congrad"


def _batches(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err
    )


def _interrupt_on_signals() -> None:
    """A service manager's SIGTERM stops the parts as Ctrl-C does. SIGINT is set too: a shell's background jobs start
    with it ignored, and Python then leaves it so."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
