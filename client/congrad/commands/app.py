"""The `congrad` command, its subcommands and their order in the help."""

from importlib.metadata import version
from typing import Annotated

import typer

from congrad.commands.demo import demo
from congrad.commands.filter import EXIT_CODES, HELP, filter_file
from congrad.commands.report import HELP as REPORT_HELP
from congrad.commands.report import report_file
from congrad.commands.rescore import HELP as RESCORE_HELP
from congrad.commands.rescore import rescore_file
from congrad.commands.service.direction import app as direction
from congrad.commands.service.doctor import doctor
from congrad.commands.service.publish import publish
from congrad.commands.service.retry import retry
from congrad.commands.service.status import status
from congrad.commands.service.token import token
from congrad.commands.terminal.closed import open_what_is_closed
from congrad.commands.up import up

PAIRS = "Pairs"
SERVICE = "Service"

app = typer.Typer(
    help="""Filters multilingual preference pairs by gradient consensus: drops those that pull a model where its other
    languages are hurt.

    Start a service on your checkpoint, and filter a file with it:
      congrad up --model PATH
      congrad filter pairs.parquet -o kept.parquet --dropped dropped.parquet""",
    epilog="[bold]Exit status[/]: 0 done; 1 the work failed, or the service is not there; 2 an argument, a file or a "
    "setting is wrong; 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("filter", help=HELP, rich_help_panel=PAIRS, epilog=EXIT_CODES, no_args_is_help=True)(filter_file)
app.command("report", help=REPORT_HELP, rich_help_panel=PAIRS, no_args_is_help=True)(report_file)
app.command("rescore", help=RESCORE_HELP, rich_help_panel=PAIRS, no_args_is_help=True)(rescore_file)
app.command(rich_help_panel=PAIRS)(demo)
app.command(rich_help_panel=SERVICE)(up)
app.command(rich_help_panel=SERVICE, no_args_is_help=True)(publish)
app.command(rich_help_panel=SERVICE)(status)
app.command(rich_help_panel=SERVICE, no_args_is_help=True)(retry)
app.command(rich_help_panel=SERVICE)(doctor)
app.command(rich_help_panel=SERVICE, no_args_is_help=True)(token)
app.add_typer(direction, name="direction", rich_help_panel=SERVICE)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"congrad {version('congrad-filter')}")
        raise typer.Exit


@app.callback()
def _common(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of `congrad` itself."""


def main() -> None:
    """Entry point."""
    open_what_is_closed()
    app()
