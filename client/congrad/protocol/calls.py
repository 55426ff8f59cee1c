"""The protocol, without input or output: generators that say what to send and how long to pause, and are given what
came back. A synchronous and an asynchronous client drive the same ones.

A transport's exception is thrown into the generator, so that it decides about retries; `StopIteration` carries the
result, and the errors that leave a generator are those of `congrad.errors`.
"""

import logging
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol, TypeVar
from urllib.parse import quote

import httpx

from congrad.contract import wire
from congrad.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    CongradError,
    JobCancelledError,
    JobFailedError,
    JobNotFinishedError,
    NotFoundError,
)
from congrad.protocol.answers.classify import is_unavailable
from congrad.protocol.answers.replies import JOB, READY, Parse, Reply, answer_of, checked
from congrad.protocol.policy import MAX_RETRY_AFTER_S, Policy, backoff, retry_after

LONGEST_HOLD_S = 12
"""Seconds that the service holds a request; a longer job is asked for, so that no proxy on the way loses patience: that
of Envoy lasts for 15."""
POLL_S = 0.5
PROBE_S = 5.0

T = TypeVar("T")

log = logging.getLogger("congrad")


@dataclass(frozen=True)
class HttpRequest:
    """One attempt at a request. ``timeout`` is of the whole attempt, in seconds."""

    method: str
    path: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 0.0


@dataclass(frozen=True)
class Pause:
    """Seconds in which nothing is sent."""

    seconds: float


Call = Generator[HttpRequest | Pause, Reply | None, T]


def resumed(call: Call[T], outcome: Reply | Exception | None) -> HttpRequest | Pause:
    """What a call wants next.

    :param outcome: what came of its last step: a reply, or what the transport raised in place of one; None for a pause,
        and before the first step.
    :raises StopIteration: it has ended, with its result.
    """
    return call.throw(outcome) if isinstance(outcome, Exception) else call.send(outcome)


class Run(Protocol):
    """Drives a call to its end."""

    def __call__(self, call: Call[T]) -> T: ...


class AsyncRun(Protocol):
    """Drives a call to its end."""

    async def __call__(self, call: Call[T]) -> T: ...


class Deadline:
    """A point in time that a call must not go beyond."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        # Clocks on the wall are put back and forth.
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()


def request(
    send: HttpRequest, parse: Parse[T], policy: Policy, *, deadline: Deadline | None = None, downtime: float = 0.0
) -> Call[T]:
    """Sends until there is an answer, or it is time to give up.

    :param downtime: seconds after the first failure for which it goes on, even when ``policy.max_retries`` are used up.
    :raises CongradError: the error of the last attempt.
    """
    deadline = deadline or Deadline(policy.timeouts.total)
    down_since: float | None = None
    for attempt in count():
        pause = backoff(attempt)
        try:
            # An attempt begins with a chance, however little is left: a timeout below 0 is no timeout to httpx, but a
            # fault.
            reply = yield from _attempt(replace(send, timeout=min(policy.timeouts.attempt, max(deadline.left, 0.1))))
            pause = retry_after(reply.headers.get("Retry-After")) or pause
            return checked(reply, parse)
        except CongradError as error:
            down_since = time.monotonic() if down_since is None else down_since
            # A failed job may fail again, at the price of its gradients: that is not waited out.
            patience = 0.0 if _job_id(error) else downtime
            is_spent = attempt >= policy.max_retries and time.monotonic() + pause - down_since > patience
            if not is_unavailable(error) or is_spent or pause > min(MAX_RETRY_AFTER_S, deadline.left):
                raise
            _log_retry(error, pause, is_beyond=attempt == policy.max_retries)
        yield Pause(pause)
    raise AssertionError("the last attempt returns or raises")


def _log_retry(error: CongradError, pause: float, is_beyond: bool) -> None:
    if is_beyond:
        log.warning("%s; waiting for the service to come back", error)
    else:
        log.info("%s; trying again in %.1f s", error, pause)


def decide(send: HttpRequest, policy: Policy, downtime: float = 0.0) -> Call[wire.FilterResult]:
    """Sends pairs, or a request to score a job again, and waits until they are decided.

    :raises CongradError: there will be no answer, or not in time.
    """
    deadline = Deadline(policy.timeouts.total)
    send = with_wait(send, policy.timeouts.attempt)
    for attempt in count():
        try:
            answer = yield from request(send, answer_of, policy, deadline=deadline, downtime=downtime)
        except APIStatusError as error:
            raise (yield from _with_job(error, policy)) from error
        if isinstance(answer, wire.FilterResult):
            return answer
        try:
            return (yield from wait(answer, policy, deadline=deadline, downtime=downtime))
        except (NotFoundError, JobFailedError) as error:
            # Redis can lose its last second, and the job with it; under its key it is then made anew. So is a job that
            # failed for no fault of its own.
            is_lost = isinstance(error, NotFoundError) or is_unavailable(error)
            if not is_lost or attempt >= policy.max_retries or deadline.left <= 0:
                raise
        yield Pause(backoff(attempt))
    raise AssertionError("the last attempt returns or raises")


def wait(
    job: wire.Job, policy: Policy, *, deadline: Deadline | None = None, downtime: float = 0.0
) -> Call[wire.FilterResult]:
    """Asks for a job until it has ended: the service answers before it stops, and its successor knows the job.

    :raises JobFailedError: it failed.
    :raises JobCancelledError: it was cancelled.
    :raises JobNotFinishedError: it has not ended in time.
    """
    deadline = deadline or Deadline(policy.timeouts.total)
    while not job.status.ended:
        if deadline.left <= POLL_S:
            raise JobNotFinishedError(job, deadline.seconds)
        poll = with_wait(HttpRequest("GET", job_path(job.id)), min(policy.timeouts.attempt, deadline.left))
        job = yield from request(poll, JOB, policy, deadline=deadline, downtime=downtime)
        if not job.status.ended:  # a service that is about to stop does not hold the request
            yield Pause(POLL_S)
    if job.error is not None:
        raise JobFailedError(job, job.error)
    if job.status is wire.JobStatus.CANCELLED:
        raise JobCancelledError(job)
    if job.result is None:
        raise APIResponseError(f"job {job.id} has {job.status} without a result", 200, "")
    return job.result


def probe() -> Call[bool]:
    """Whether the service, Redis and its workers are there, asked once.

    :raises APIStatusError: that is not for this client to know: its token is not valid.
    """
    try:
        reply = yield from _attempt(HttpRequest("GET", "/readyz", timeout=PROBE_S))
        checked(reply, READY)
    except CongradError as error:
        if not is_unavailable(error):
            raise
        return False
    return True


def until_ready(seconds: float) -> Call[None]:
    """Probes until the service is ready.

    :raises APITimeoutError: it is not within ``seconds``; the message has its own last words.
    """
    deadline = Deadline(seconds)
    for attempt in count():
        try:
            reply = yield from _attempt(HttpRequest("GET", "/readyz", timeout=min(PROBE_S, max(deadline.left, 0.1))))
            checked(reply, READY)
            return
        except CongradError as error:
            if not is_unavailable(error):
                raise
            pause = min(backoff(attempt), 2.0)
            if deadline.left <= pause:
                raise APITimeoutError(f"the service is not ready after {seconds:g} s: {error}") from error
        yield Pause(pause)


def job_path(job_id: str) -> str:
    """Where a job is."""
    # Ids come from callers too: a slash or two dots would be another path.
    return f"/jobs/{quote(job_id, safe='')}"


def with_wait(send: HttpRequest, seconds: float) -> HttpRequest:
    """The request with a wish to be answered well within ``seconds``."""
    hold = max(int(min(LONGEST_HOLD_S, seconds / 2)), 0)
    return replace(send, headers={**send.headers, "Prefer": f"wait={hold}"})


def _attempt(send: HttpRequest) -> Call[Reply]:
    try:
        reply = yield send
    except httpx.TimeoutException as error:
        raise APITimeoutError(f"{_url(error)} did not answer within {send.timeout:.3g} s ({_of(error)})") from error
    except httpx.RequestError as error:
        raise APIConnectionError(f"{_url(error)} cannot be reached: {_of(error)}") from error
    # Drivers answer a request with a reply, and a pause with None.
    assert reply is not None
    return reply


def _url(error: httpx.RequestError) -> str:
    try:
        url = error.request.url
    except RuntimeError:  # the error knows of no request
        return "the service"
    return f"{url.scheme}://{url.netloc.decode()}"


def _of(error: Exception) -> str:
    return str(error) or type(error).__name__


def _with_job(error: APIStatusError, policy: Policy) -> Call[CongradError]:
    """The error, or, where it is the end of a job, the one that carries the job."""
    job_id = _job_id(error)
    if job_id is None:
        return error
    try:
        job = yield from request(HttpRequest("GET", job_path(job_id)), JOB, policy)
    except CongradError:
        return error
    if job.status is wire.JobStatus.CANCELLED:
        return JobCancelledError(job)
    return JobFailedError(job, error.problem, error.request_id)


def _job_id(error: CongradError) -> str | None:
    instance = error.problem.instance if isinstance(error, APIStatusError) else None
    return instance.removeprefix("/jobs/") if instance and instance.startswith("/jobs/") else None
