"""What a command adds to what the service says."""

import pytest
from congrad.commands.terminal.output import FORBIDDEN_HINT, UNAUTHORIZED_HINT, explained
from congrad.contract import wire
from congrad.errors import AuthenticationError, CongradError, PermissionDeniedError


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
