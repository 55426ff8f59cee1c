"""`/jobs/{id}`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from congrad.contract import wire
from fastapi import APIRouter, Depends, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from redis.exceptions import RedisError

from congrad_service.http.errors import NotFound
from congrad_service.http.prefer import parse_prefer
from congrad_service.jobs.events import POLL_S
from congrad_service.jobs.feed import LISTED
from congrad_service.jobs.job_id import JobId
from congrad_service.routes.waiting import Prefer, wait
from congrad_service.scripts import RECENT
from congrad_service.state import Congrad

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("")
async def list_jobs(state: Congrad, limit: Annotated[int, Query(ge=1, le=RECENT)] = LISTED) -> list[wire.JobSummary]:
    """The latest jobs whose answers are still kept, the newest of them first."""
    return await state.jobs.recent(limit)


@router.get("/{job_id}")
async def get_job(state: Congrad, job_id: JobId, prefer: Prefer = None) -> wire.Job:
    """Status, progress, and the result or the error once there is one. `Prefer: wait=SECONDS` waits for the end."""
    return await wait(state, job_id, parse_prefer(prefer, state.settings.max_wait, default=0.0).wait)


# `wire.FilterRequest` brings the schemas in. As a model of an answer, FastAPI would tell of each sample twice.
_KINDS = [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in (wire.Sample, wire.PromptCompletion)]
SAMPLES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The samples.",
        "content": {"application/json": {"schema": {"type": "array", "items": {"oneOf": _KINDS}}}},
    }
}
"""How OpenAPI tells of them."""


@router.get("/{job_id}/samples", response_class=Response, responses=SAMPLES)
async def job_samples(state: Congrad, job_id: JobId) -> Response:
    """A job's samples, in their order. Only where the deployment keeps their texts, for as long as the job's answer."""
    return Response(await state.jobs.samples(job_id), media_type="application/json")


@router.delete("/{job_id}")
async def cancel_job(state: Congrad, job_id: JobId) -> wire.Job:
    """Cancels a job. One that has not been folded into its direction never will be."""
    return await state.jobs.cancel(job_id)


async def _job(state: Congrad, job_id: JobId) -> wire.Job:
    return await state.jobs.get(job_id)


async def _changes(state: Congrad, job_id: JobId) -> AsyncIterator[asyncio.Event]:
    """An event that is set at each change of the job. A dependency, so that it ends with the response, however that
    ends; a generator that its reader left behind ends when it is collected."""
    async with state.events.of(job_id) as changed:
        yield changed


@router.get("/{job_id}/events", response_class=EventSourceResponse)
async def job_events(
    state: Congrad,
    changed: Annotated[asyncio.Event, Depends(_changes)],  # before the job is read
    job: Annotated[wire.Job, Depends(_job)],
) -> AsyncIterator[ServerSentEvent]:
    """The job as it is now and at each change, as server-sent events named by its status. The stream ends with the job.

    It ends earlier where the service stops, or the job cannot be read any more; then ask again.
    """
    yield _event(job)
    while not job.status.ended and not state.draining.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), POLL_S)
        changed.clear()
        try:
            now = await state.jobs.get(job.id)
        except (NotFound, RedisError):  # too late for a status and a problem document
            return
        if now != job:
            job = now
            yield _event(job)


def _event(job: wire.Job) -> ServerSentEvent:
    # Escaped to ASCII: readers of lines, httpx's among them, take U+2028 in an id for the end of one.
    return ServerSentEvent(event=job.status, raw_data=json.dumps(job.model_dump(mode="json")))
