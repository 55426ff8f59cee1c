"""What a command adds to what the service says."""

import io
import logging

import pytest
import typer
from congrad.commands.terminal.output import (
    FAILED,
    FORBIDDEN_HINT,
    UNAUTHORIZED_HINT,
    WRONG,
    VisibleConsole,
    explained,
    fail_with,
    say,
    say_warnings,
)
from congrad.contract import wire
from congrad.errors import AuthenticationError, ConflictError, CongradError, PermissionDeniedError, UnprocessableError
from rich.table import Table
from rich.text import Text


def problem(status: int, detail: str) -> wire.Problem:
    return wire.Problem(title="t", status=status, detail=detail)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (AuthenticationError(problem(401, "a bearer token is needed")), UNAUTHORIZED_HINT),
        (
            PermissionDeniedError(problem(403, "this needs a token of role 'admin'; 'a' has role 'read'")),
            FORBIDDEN_HINT,
        ),
        (PermissionDeniedError(problem(403, "/x is none of the folders that CONGRAD_MODELS names")), None),
        (CongradError("the service is away"), None),
    ],
)
def test_a_hint_is_given_where_it_helps(error: CongradError, hint: str | None) -> None:
    assert explained(error) == (str(error) if hint is None else f"{error}\n{hint}")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnprocessableError(problem(422, "languages.1: 'xx' is not a BCP 47 language tag")), WRONG),
        (ConflictError(problem(409, "the gradients are no longer kept")), FAILED),
        (CongradError("the service is away"), FAILED),
    ],
)
def test_the_exit_status_tells_a_wrong_argument_or_file_from_work_that_failed(error: CongradError, status: int) -> None:
    with pytest.raises(typer.Exit) as ended:
        fail_with(error)
    assert ended.value.exit_code == status


TITLE = "\x1b]0;another title\x07 \u202eeht"
"""A name that has a terminal do something."""
SHOWN = "\\x1b]0;another title\\x07 \\u202eeht"


def test_what_a_terminal_would_obey_is_shown_in_messages_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{TITLE}\nand more")
    say_warnings()
    logging.getLogger("congrad").warning("%s", TITLE)
    # What the console took for a bell it leaves out by itself.
    assert capsys.readouterr().err == f"{SHOWN}\nand more\ncongrad: {SHOWN}\n".replace("\\x07", "", 1)


def test_what_a_terminal_would_obey_is_shown_in_tables_whose_colours_are_kept() -> None:
    written = io.StringIO()
    console = VisibleConsole(file=written, force_terminal=True, color_system="standard", width=80)
    table = Table("name", min_width=20)
    table.add_row(Text("\x1b[2J", style="red"))
    console.print(table)
    assert "\x1b[31m\\x1b[2J" in written.getvalue()
    assert "\x1b[2J" not in written.getvalue()
