"""What a command adds to what the service says."""

import pytest
import typer
from congrad.commands.terminal.output import FAILED, FORBIDDEN_HINT, UNAUTHORIZED_HINT, WRONG, explained, fail_with
from congrad.contract import wire
from congrad.errors import AuthenticationError, ConflictError, CongradError, PermissionDeniedError, UnprocessableError


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
