"""From a job that was accepted to its answer: handed to the workers, waited for, answered."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from congrad.contract import wire
from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from congrad_service.http import errors, links, problems
from congrad_service.http.prefer import Preference
from congrad_service.jobs.acceptance import Accepted
from congrad_service.observability import tracing
from congrad_service.observability.observed import note
from congrad_service.queue.registry import Live
from congrad_service.state import State

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


def _lines(
    request: Request, prefer: Annotated[str | None, Header(description="`respond-async`, or `wait=SECONDS`")] = None
) -> list[str]:
    """All lines of the header, of which FastAPI has the first; the document has one string, as HTTP may join them."""
    return request.headers.getlist("prefer") if prefer is not None else []


Prefer = Annotated[list[str], Depends(_lines)]

JOB_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The decisions.",
        "links": links.to_job("$response.body#/job_id") | links.to_direction("$response.body#/direction/name"),
    },
    202: {
        "model": wire.Job,
        "description": "The wait ended first; ask at `Location`.",
        "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
        "links": links.to_job("$response.body#/id") | links.to_direction("$response.body#/direction"),
    },
    **problems.QUEUE_FULL,
}
"""How OpenAPI tells of the answers to a request that makes a job."""


def check_decide_worker(live: Live) -> None:
    """:raises Unavailable: no live worker decides jobs."""
    if not live.decides:
        raise errors.Unavailable("no decide worker is ready", retry_after=errors.RETRY_AFTER_S)


async def answer(state: State, accepted: Accepted, send: Callable[[], None], preference: Preference) -> Response:
    """Sends the job's tasks unless that was done, waits for its end as long as the client wants to, and answers.

    :param send: puts the job's tasks into the queue; may block, and may be called twice.
    :raises Unavailable: the job is there no more, as Redis has lost it. Sent again, the request makes it anew.
    """
    note(job_id=accepted.job_id)
    if not accepted.enqueued:
        with tracing.span("enqueue", chunks=accepted.chunks):
            await _enqueue(state, accepted, send)
    with tracing.span("wait"):
        try:
            job = await wait(state, accepted.job_id, preference.wait)
        except errors.NotFound as error:
            detail = f"the store of jobs and directions has lost job {accepted.job_id}; send the request again"
            raise errors.Unavailable(detail, retry_after=errors.RETRY_AFTER_S) from error
    return _response(job, preference)


async def _enqueue(state: State, accepted: Accepted, send: Callable[[], None]) -> None:
    """A job whose tasks cannot be sent ends at once, so that it does not fill the queue; but for one that was there
    before: its tasks may have been sent, and be under way.

    :raises Unavailable: they cannot, of that one.
    """
    try:
        await state.send(send)
    except (OperationalError, RedisError) as error:  # kombu lets Redis's own answers pass: it is full
        away = errors.Unavailable("the queue cannot be reached", retry_after=errors.RETRY_AFTER_S)
        if not accepted.is_new:
            raise away from error
        await state.jobs.fail(accepted, errors.problem_of(away))
    else:
        with suppress(RedisError):  # they are sent once more, perhaps, which changes nothing
            await state.jobs.mark_enqueued(accepted.job_id)


async def wait(state: State, job_id: str, seconds: float) -> wire.Job:
    """The job once it has ended, or as it is when the seconds are over or the process is about to stop.

    :raises NotFound: no such job.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    async with state.watch(job_id, follows=False) as watch:
        reading = await watch.now()
        while not reading.job.status.ended and not state.draining.is_set():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            newer = await watch.after(reading, left)
            # Nobody has looked whether it has begun meanwhile.
            reading = await watch.now() if newer is reading else newer
        return reading.job


def _response(job: wire.Job, preference: Preference) -> Response:
    if job.result is not None:
        return JSONResponse(job.result.model_dump(mode="json"), headers=preference.applied)
    if job.error is not None:
        unavailable = job.error.status == errors.Unavailable.status
        return problems.response(job.error, {"Retry-After": str(errors.RETRY_AFTER_S)} if unavailable else None)
    if job.status is wire.JobStatus.CANCELLED:
        cancelled = errors.problem_of(errors.Conflict(f"job {job.id} was cancelled"))
        return problems.response(cancelled.model_copy(update={"instance": f"/jobs/{job.id}"}))
    headers = {"Location": f"/jobs/{job.id}", **preference.applied}
    return JSONResponse(job.model_dump(mode="json"), status_code=202, headers=headers)
