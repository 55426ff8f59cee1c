"""Options that several commands have."""

from typing import Annotated

import httpx
import typer

from congrad.client import Client
from congrad.commands.terminal.output import WRONG, fail, say_warnings

SERVICE = "Service"

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="CONGRAD_BASE_URL",
        help="Where the service is.",
        metavar="URL",
        rich_help_panel=SERVICE,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="CONGRAD_API_KEY",
        show_default=False,
        help="Its bearer token, if it asks for one. The variable keeps it out of the list of processes.",
        metavar="TOKEN",
        rich_help_panel=SERVICE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]


def is_given(context: typer.Context, option: str) -> bool:
    """Whether the command line says it, and not the environment."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def connect(url: str, api_key: str | None, *, timeout: float | None = None, max_retries: int | None = None) -> Client:
    """A client of the service, whose warnings are shown; nothing is sent yet."""
    say_warnings()
    try:
        return Client(url, api_key, timeout=timeout, max_retries=max_retries)
    except (ValueError, httpx.InvalidURL) as error:
        fail(str(error), WRONG)
    except ImportError as error:  # of what httpx needs for socks5://
        fail(f"the environment names a proxy that cannot be used: {error}", WRONG)
