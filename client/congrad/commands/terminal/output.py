"""What a command says: results on standard output, everything else on standard error."""

import logging
import re
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NoReturn, TextIO

import typer
from pydantic_core import to_json
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from congrad.errors import APIStatusError, AuthenticationError, CongradError, PermissionDeniedError

DONE = 0
FAILED = 1
WRONG = 2
"""An argument, a file or a setting."""
INTERRUPTED = 130
"""As a shell calls what SIGINT ended."""

UNAUTHORIZED_HINT = "set CONGRAD_API_KEY to a token of the service"
FORBIDDEN_HINT = "whoever runs the service can make a token of that role: `congrad token NAME --role ROLE`"

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All but tabs and line breaks, and what turns the direction of writing: a terminal obeys them."""


def visible(text: str) -> str:
    """The text as it may be shown: names of columns, of files and of checkpoints are anyone's."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


class VisibleConsole(Console):
    """A console that writes no control character but its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What a renderable is made of."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


out = VisibleConsole()
err = VisibleConsole(stderr=True, highlight=False)


def fail(message: str, status: int) -> NoReturn:
    """Ends the command with a message."""
    say(f"congrad: {message}")
    raise typer.Exit(status)


def fail_with(error: CongradError) -> NoReturn:
    """Ends the command with what the service, or the way to it, has to say."""
    fail(explained(error), status_of(error))


def status_of(error: CongradError) -> int:
    """The exit status: what the service refuses as it stands was asked wrongly."""
    is_wrong = isinstance(error, APIStatusError) and error.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return WRONG if is_wrong else FAILED


def explained(error: CongradError) -> str:
    """The error, and what can be done about it."""
    match error:
        case AuthenticationError():
            return f"{error}\n{UNAUTHORIZED_HINT}"
        case PermissionDeniedError() if "token of role" in error.problem.detail:
            return f"{error}\n{FORBIDDEN_HINT}"
    return str(error)


def say(message: str) -> None:
    """Prints a line beside the results, as it is."""
    err.print(message, markup=False, soft_wrap=True)


class _Lines(logging.Handler):
    """Prints what is logged as a line each. A progress bar takes the place of `sys.stderr` and puts them above itself,
    which it cannot do to what `err` prints."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        print("congrad:", *visible(record.getMessage()).split(), file=sys.stderr)


def say_warnings() -> None:
    """From now on the SDK's warnings are printed."""
    log = logging.getLogger("congrad")
    if not any(isinstance(handler, _Lines) for handler in log.handlers):
        log.addHandler(_Lines(logging.WARNING))


def print_json(value: Any, stream: TextIO | None = None) -> None:
    """Prints a value, models in it included, as JSON.

    :param stream: default: standard output.
    """
    print(to_json(value, indent=2).decode(), file=stream or sys.stdout, flush=True)
