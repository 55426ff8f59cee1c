"""Errors of the client.

CongradError
├── InvalidSampleError              a sample cannot be sent: it is no mapping, or holds what JSON has no form for
├── NoRoomError                     the service has no room for the gradients of two passes; nothing was sent
├── APIConnectionError              the service cannot be reached
│   └── APITimeoutError                 it did not answer in time
├── APIResponseError                it answered with what is no answer of its own: a proxy's page, half a document
├── APIStatusError                  it answered with a problem document
│   ├── BadRequestError                 400
│   ├── AuthenticationError             401
│   ├── PermissionDeniedError           403
│   ├── NotFoundError                   404
│   ├── ConflictError                   409
│   ├── ContentTooLargeError            413
│   ├── UnprocessableError              422
│   ├── RateLimitError                  429
│   ├── ServerError                     500 and above
│   └── JobFailedError                  the job was accepted and has failed; it carries the job
├── PublicationFailedError          the checkpoint cannot be served; the old one still is
├── JobCancelledError               the job was cancelled; it carries the job
└── JobNotFinishedError             the job has not ended in time; it carries the job
"""

from collections.abc import Sequence
from typing import Any

from congrad.contract import wire


class CongradError(Exception):
    """Base of all errors of this package.

    Where `filter` raises it, ``decisions`` has an entry for each sample, in order, None for those without a decision,
    and ``undecided`` has the positions of these.
    """

    decisions: Sequence[wire.Decision | None] = ()
    undecided: Sequence[int] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with the message alone: a pool of processes waits for ever for an error that its
        # parent cannot read.
        return _again, (type(self), self.args, self.__dict__)


class InvalidSampleError(CongradError, ValueError):
    """A sample cannot be sent. ``position`` says which."""

    def __init__(self, position: int, detail: str):
        super().__init__(f"sample {position} cannot be sent: {detail}")
        self.position = position
        self._detail = detail

    def _at(self, position: int) -> "InvalidSampleError":
        """The same of another position, where what was sent is a part of what the caller has."""
        return InvalidSampleError(position, self._detail)


class NoRoomError(CongradError):
    """The service has no room for the gradients that two passes would keep. Nothing was sent."""


class APIConnectionError(CongradError):
    """The service cannot be reached."""


class APITimeoutError(APIConnectionError):
    """The service did not answer in time."""


class APIResponseError(CongradError):
    """What came is no answer of the service. ``status`` is its HTTP status, ``body`` how it begins."""

    def __init__(self, message: str, status: int, body: str):
        super().__init__(message)
        self.status = status
        self.body = body


class APIStatusError(CongradError):
    """The service answered with an error.

    ``problem`` is its problem document, ``status`` the HTTP status, ``request_id`` what the service's log calls the
    request, ``samples`` the positions of the samples at fault, counted in the call.
    """

    def __init__(self, problem: wire.Problem, request_id: str | None = None):
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")
        self.problem = problem
        self.status = problem.status
        self.request_id = request_id
        self.samples = sorted({n for error in problem.errors if (n := _sample_index(error.pointer)) is not None})


class BadRequestError(APIStatusError):
    """The request could not be read."""


class AuthenticationError(APIStatusError):
    """No valid bearer token."""


class PermissionDeniedError(APIStatusError):
    """The token's role does not include this, or the operator has not allowed what is to be loaded
    (``CONGRAD_MODELS``)."""


class NotFoundError(APIStatusError):
    """No such job, direction or route."""


class ConflictError(APIStatusError):
    """What is asked does not fit what is there: another checkpoint's direction, a job that has ended, gradients or an
    answer that is no longer kept, or as many as a team may have. ``problem.detail`` says which."""


class ContentTooLargeError(APIStatusError):
    """Too many samples or bytes in one request."""


class UnprocessableError(APIStatusError):
    """Something in the request is wrong; ``problem.errors`` says where."""


class RateLimitError(APIStatusError):
    """The queue is full."""


class ServerError(APIStatusError):
    """The service, or something behind it, is not well."""


class JobFailedError(APIStatusError):
    """The job was accepted and has failed: nothing of it has been folded in. ``job`` is its state."""

    def __init__(self, job: wire.Job, problem: wire.Problem, request_id: str | None = None):
        super().__init__(problem, request_id)
        self.job = job


class PublicationFailedError(CongradError):
    """A checkpoint that was published cannot be served, and the one that it should have replaced still is.
    ``publication`` has the worker's reason."""

    def __init__(self, publication: wire.Publication):
        super().__init__(f"the checkpoint cannot be served: {publication.error or 'no worker has said why'}")
        self.publication = publication


class JobCancelledError(CongradError):
    """The job was cancelled: nothing of it has been folded in. ``job`` is its state."""

    def __init__(self, job: wire.Job):
        super().__init__(f"job {job.id} was cancelled")
        self.job = job


class JobNotFinishedError(CongradError):
    """The job has not ended in time, and goes on. ``job`` is its state; ``client.jobs.wait(job)`` waits longer."""

    def __init__(self, job: wire.Job, seconds: float):
        done, total = job.progress.done, job.progress.total
        super().__init__(f"job {job.id} is {job.status} after {seconds:g} s, with {done} of {total} chunks done")
        self.job = job


def _again(kind: type[CongradError], arguments: tuple[Any, ...], state: dict[str, Any]) -> CongradError:
    """An error that was pickled."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


def _sample_index(pointer: str) -> int | None:
    """The sample that a JSON pointer into a request leads to."""
    match pointer.split("/"):
        case ["", "samples", index, *_] if index.isdigit():
            return int(index)
    return None
