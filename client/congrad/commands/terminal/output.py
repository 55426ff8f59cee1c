"""What a command says: results on standard output, everything else on standard error."""

import logging
import sys
from http import HTTPStatus
from typing import Any, NoReturn, TextIO

import typer
from pydantic_core import to_json
from rich.console import Console

from congrad.errors import APIStatusError, AuthenticationError, CongradError, PermissionDeniedError

DONE = 0
FAILED = 1
WRONG = 2
"""An argument, a file or a setting."""
INTERRUPTED = 130
"""As a shell calls what SIGINT ended."""

UNAUTHORIZED_HINT = "set CONGRAD_API_KEY to a token of the service"
FORBIDDEN_HINT = "whoever runs the service can make a token of that role: `congrad token NAME --role ROLE`"

out = Console()
err = Console(stderr=True, highlight=False)


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
        print("congrad:", *record.getMessage().split(), file=sys.stderr)


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
