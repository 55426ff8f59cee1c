"""A job's server-sent events, followed to its end across lost connections."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator

import httpx
from httpx_sse import SSEError, aconnect_sse, connect_sse
from pydantic import ValidationError

from congrad import wire
from congrad.calls import Reply, failure, job_path
from congrad.classify import is_unavailable
from congrad.errors import APIConnectionError, APIResponseError, APITimeoutError, CongradError
from congrad.policy import Policy, backoff

SILENCE_S = 45.0
"""The service writes a comment every 15 seconds while nothing happens."""


class _Retries:
    """How often in a row the stream may be lost."""

    def __init__(self, policy: Policy):
        self._policy = policy
        self._lost = 0

    def reset(self) -> None:
        self._lost = 0

    def pause(self, error: CongradError) -> float:
        """Seconds until the next attempt.

        :raises CongradError: ``error``, if there is none.
        """
        if not is_unavailable(error) or self._lost >= self._policy.max_retries:
            raise error
        self._lost += 1
        return backoff(self._lost - 1)


def follow(http: httpx.Client, job_id: str, policy: Policy) -> Generator[wire.Job]:
    """The job now and at each of its changes, until it has ended.

    :raises CongradError: the stream cannot be opened, or breaks more often in a row than ``policy.max_retries``.
    """
    retries = _Retries(policy)
    last: wire.Job | None = None
    while True:
        try:
            with connect_sse(http, "GET", job_path(job_id) + "/events", timeout=_timeout(policy)) as source:
                if not source.response.is_success:
                    source.response.read()
                    raise _failure(source.response)
                for event in source.iter_sse():
                    job = wire.Job.model_validate_json(event.data)
                    if job == last:  # the first event of a stream that was opened again
                        continue
                    retries.reset()
                    last = job
                    yield job
                    if job.status.ended:
                        return
            error: CongradError = APIConnectionError("the stream of events ended before the job did")
        except (httpx.RequestError, SSEError, ValidationError, CongradError) as raised:
            error = _as_own(raised)
        time.sleep(retries.pause(error))


async def follow_async(http: httpx.AsyncClient, job_id: str, policy: Policy) -> AsyncGenerator[wire.Job]:
    """`follow`, asynchronously."""
    retries = _Retries(policy)
    last: wire.Job | None = None
    while True:
        try:
            async with aconnect_sse(http, "GET", job_path(job_id) + "/events", timeout=_timeout(policy)) as source:
                if not source.response.is_success:
                    await source.response.aread()
                    raise _failure(source.response)
                async for event in source.aiter_sse():
                    job = wire.Job.model_validate_json(event.data)
                    if job == last:  # the first event of a stream that was opened again
                        continue
                    retries.reset()
                    last = job
                    yield job
                    if job.status.ended:
                        return
            error: CongradError = APIConnectionError("the stream of events ended before the job did")
        except (httpx.RequestError, SSEError, ValidationError, CongradError) as raised:
            error = _as_own(raised)
        await asyncio.sleep(retries.pause(error))


def _timeout(policy: Policy) -> httpx.Timeout:
    return httpx.Timeout(max(policy.timeouts.attempt, SILENCE_S), connect=policy.timeouts.connect)


def _failure(response: httpx.Response) -> CongradError:
    return failure(Reply(response.status_code, response.headers, response.content))


def _as_own(error: Exception) -> CongradError:
    if isinstance(error, CongradError):
        return error
    if isinstance(error, httpx.TimeoutException):
        return APITimeoutError("the stream of events fell silent")
    if isinstance(error, httpx.RequestError):
        return APIConnectionError(f"the stream of events was lost: {error or type(error).__name__}")
    return APIResponseError(f"what came is no stream of events: {error}", 200, "")
