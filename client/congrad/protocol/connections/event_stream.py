"""A job's server-sent events, followed to its end across lost connections and restarts of the service."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Generator

import httpx
from httpx_sse import SSEError, aconnect_sse, connect_sse
from pydantic import ValidationError

from congrad.contract import wire
from congrad.errors import APIConnectionError, APIResponseError, APITimeoutError, CongradError
from congrad.protocol.answers.classify import is_unavailable
from congrad.protocol.answers.replies import Reply, failure
from congrad.protocol.calls import job_path
from congrad.protocol.policy import Policy, backoff

SILENCE_S = 45.0
"""The service writes a comment every 15 seconds while nothing happens."""

LOST = (httpx.RequestError, ValidationError, CongradError)
"""What a stream ends with before its job has ended."""

log = logging.getLogger("congrad")


class Reader:
    """What of a stream is news, and whether a stream that was lost is opened again. Without input or output."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self._last: wire.Job | None = None
        self._losses = 0  # since the last event
        self._down_since = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether there will be no further news."""
        return self._last is not None and self._last.status.ended

    def news(self, data: str) -> wire.Job | None:
        """The job as an event says it; None where it is as before, as in the first event of a stream opened again.

        :raises ValidationError: it is no job.
        """
        job = wire.Job.model_validate_json(data)
        self._losses = 0
        if job == self._last:
            return None
        self._last = job
        return job

    def pause(self, raised: Exception) -> float:
        """Seconds until the stream, which ended with one of `LOST`, is opened again.

        :raises CongradError: it is not: the request is at fault, or retries and downtime are used up.
        """
        error = _as_own(raised)
        now, pause = time.monotonic(), backoff(self._losses)
        if self._losses == 0:
            self._down_since = now
        is_patience_spent = now + pause - self._down_since > self._policy.max_downtime
        if not is_unavailable(error) or (self._losses >= self._policy.max_retries and is_patience_spent):
            raise error
        if self._losses == self._policy.max_retries:
            log.warning("%s; waiting for the service to come back", error)
        self._losses += 1
        return pause


def follow(http: httpx.Client, job_id: str, policy: Policy) -> Generator[wire.Job]:
    """The job now and at each of its changes, until it has ended.

    :raises CongradError: the stream cannot be opened, or was lost more often in a row than ``policy.max_retries`` and
        for longer than ``policy.max_downtime``.
    """
    reader = Reader(policy)
    while True:
        try:
            with connect_sse(http, "GET", _path(job_id), timeout=_timeout(policy)) as source:
                if not source.response.is_success:
                    # The body of a stream is not there until it is read, and the problem document is in it.
                    source.response.read()
                    raise _failure(source.response)
                for event in source.iter_sse():
                    if job := reader.news(event.data):
                        yield job
                    if reader.has_ended:
                        return
            # A service that stops ends its streams in order, and a proxy that loses patience does too.
            raise _cut()
        except LOST as error:
            time.sleep(reader.pause(error))


async def follow_async(http: httpx.AsyncClient, job_id: str, policy: Policy) -> AsyncGenerator[wire.Job]:
    """`follow`, asynchronously."""
    reader = Reader(policy)
    while True:
        try:
            async with aconnect_sse(http, "GET", _path(job_id), timeout=_timeout(policy)) as source:
                if not source.response.is_success:
                    await source.response.aread()
                    raise _failure(source.response)
                async for event in source.aiter_sse():
                    if job := reader.news(event.data):
                        yield job
                    if reader.has_ended:
                        return
            raise _cut()
        except LOST as error:
            await asyncio.sleep(reader.pause(error))


def _path(job_id: str) -> str:
    return job_path(job_id) + "/events"


def _timeout(policy: Policy) -> httpx.Timeout:
    return httpx.Timeout(max(policy.timeouts.attempt, SILENCE_S), connect=policy.timeouts.connect)


def _failure(response: httpx.Response) -> CongradError:
    return failure(Reply(response.status_code, response.headers, response.content))


def _cut() -> CongradError:
    return APIConnectionError("the stream of events ended before the job did")


def _as_own(error: Exception) -> CongradError:
    if isinstance(error, CongradError):
        return error
    if isinstance(error, SSEError | ValidationError):  # the first is a RequestError as well
        return APIResponseError(f"what came is no stream of events: {error}", 200, "")
    if isinstance(error, httpx.TimeoutException):
        return APITimeoutError("the stream of events fell silent")
    return APIConnectionError(f"the stream of events was lost: {error or type(error).__name__}")
