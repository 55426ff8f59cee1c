"""Errors that become problem documents. Free of FastAPI: the workers speak of samples in the same words.

ServiceError
├── BadRequest             400
├── Unauthorized           401
├── Forbidden              403
├── NotFound               404
├── Conflict               409
├── ContentTooLarge        413
├── UnsupportedMediaType   415
├── Unprocessable          422
├── QueueFull              429, with Retry-After
├── TooMuchAtOnce          429, with Retry-After
└── Unavailable            503, with Retry-After
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar

from congrad.contract import wire

MAX_ERRORS = 50
"""Faults named in one answer; a client that sent 4,096 bad samples learns no more from 4,096 lines."""

RETRY_AFTER_S = 5


class ServiceError(Exception):
    """Base of the errors that become a problem document."""

    status: ClassVar[HTTPStatus]
    type: ClassVar[str] = "about:blank"

    def __init__(self, detail: str, errors: Sequence[wire.ProblemError] = (), retry_after: int | None = None):
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


class BadRequest(ServiceError):
    status = HTTPStatus.BAD_REQUEST


class Unauthorized(ServiceError):
    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, detail: str):
        super().__init__(detail)
        self.headers = {"WWW-Authenticate": 'Bearer realm="congrad"'}


class Forbidden(ServiceError):
    status = HTTPStatus.FORBIDDEN


class NotFound(ServiceError):
    status = HTTPStatus.NOT_FOUND


class Conflict(ServiceError):
    status = HTTPStatus.CONFLICT


class NoLongerKept(Conflict):
    """What was done is not done again, and its answer is gone."""

    type = wire.NO_LONGER_KEPT


class ContentTooLarge(ServiceError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedMediaType(ServiceError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE

    def __init__(self, detail: str):
        super().__init__(detail)
        self.headers = {"Accept-Encoding": "identity"}  # it is the coding: RFC 9110, 15.5.16


class Unprocessable(ServiceError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY


class QueueFull(ServiceError):
    status = HTTPStatus.TOO_MANY_REQUESTS


class TooMuchAtOnce(ServiceError):
    status = HTTPStatus.TOO_MANY_REQUESTS


class Unavailable(ServiceError):
    status = HTTPStatus.SERVICE_UNAVAILABLE


def problem_of(error: ServiceError) -> wire.Problem:
    """The document of an error."""
    return wire.Problem(
        type=error.type,
        title=error.status.phrase,
        status=error.status,
        detail=error.detail,
        errors=error.errors[:MAX_ERRORS],
    )


def pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def sample_name(index: int, sample_id: str | None) -> str:
    """How messages name a sample: by its position in the request, and its id where it has one."""
    return f"sample {index}" if sample_id is None else f"sample {index} (id {sample_id!r})"
