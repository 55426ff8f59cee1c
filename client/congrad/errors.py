"""Errors of the client.

CongradError
├── APIConnectionError          the service cannot be reached
│   └── APITimeoutError         it did not answer in time
├── APIStatusError              it answered with a problem document
│   ├── BadRequestError             400
│   ├── AuthenticationError         401
│   ├── NotFoundError               404
│   ├── ConflictError               409
│   ├── ContentTooLargeError        413
│   ├── UnprocessableError          422
│   ├── RateLimitError              429
│   └── ServerError                 500 and above
└── JobNotFinishedError         the job has not ended in time, or was cancelled; it carries the job
"""

from congrad import wire


class CongradError(Exception):
    """Base of all errors of this package."""


class APIConnectionError(CongradError):
    """The service cannot be reached."""


class APITimeoutError(APIConnectionError):
    """The service did not answer in time."""


class APIStatusError(CongradError):
    """The service answered with an error. ``problem`` is its problem document, ``status`` the HTTP status."""

    def __init__(self, problem: wire.Problem):
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")
        self.problem = problem
        self.status = problem.status


class BadRequestError(APIStatusError):
    """The request could not be read."""


class AuthenticationError(APIStatusError):
    """No valid bearer token."""


class NotFoundError(APIStatusError):
    """No such job, direction or route."""


class ConflictError(APIStatusError):
    """The direction belongs to another checkpoint, or the job has ended."""


class ContentTooLargeError(APIStatusError):
    """Too many samples or bytes in one request."""


class UnprocessableError(APIStatusError):
    """Something in the request is wrong; ``problem.errors`` says where."""


class RateLimitError(APIStatusError):
    """The queue is full."""


class ServerError(APIStatusError):
    """The service, or something behind it, is not well."""


class JobNotFinishedError(CongradError):
    """The job has not ended in time, or was cancelled; ``job`` is its state."""

    def __init__(self, job: wire.Job):
        super().__init__(f"job {job.id} has no result: it is {job.status}")
        self.job = job


BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    413: ContentTooLargeError,
    422: UnprocessableError,
    429: RateLimitError,
}


def status_error(problem: wire.Problem) -> APIStatusError:
    """The error of the class that belongs to a problem's status."""
    return BY_STATUS.get(problem.status, ServerError if problem.status >= 500 else APIStatusError)(problem)
