"""Which error an answer is, and whether its request may be sent again."""

from congrad.contract import wire
from congrad.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    CongradError,
    ContentTooLargeError,
    JobNotFinishedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnprocessableError,
)

BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: ContentTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
}


def status_error(problem: wire.Problem, request_id: str | None = None) -> APIStatusError:
    """The error of the class that belongs to a problem's status."""
    kind = BY_STATUS.get(problem.status, ServerError if problem.status >= 500 else APIStatusError)
    return kind(problem, request_id)


def is_unavailable(error: CongradError) -> bool:
    """Whether the service is at fault, or something on the way to it, rather than the request: it may be sent again."""
    if isinstance(error, APIStatusError):
        return error.status in (408, 429) or error.status >= 500
    return isinstance(error, APIConnectionError | APIResponseError | JobNotFinishedError)
