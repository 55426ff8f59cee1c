"""`/jobs/{id}`."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from congrad.contract import wire
from fastapi import APIRouter, Depends, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse
from redis.exceptions import RedisError
from starlette.responses import StreamingResponse

from congrad_service.http.errors import NotFound
from congrad_service.http.prefer import parse_prefer
from congrad_service.jobs.feed import LISTED
from congrad_service.jobs.job_id import JobId
from congrad_service.jobs.watching import Reading, Watch
from congrad_service.routes.waiting import Prefer, wait
from congrad_service.scripts.limits import RECENT
from congrad_service.state import Congrad, State

PING_S = 15.0
"""Between two signs of a quiet stream: proxies close those that say nothing."""

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("")
async def list_jobs(
    state: Congrad,
    limit: Annotated[int, Query(ge=1, le=RECENT)] = LISTED,
    status: wire.JobStatus | None = None,
) -> list[wire.JobSummary]:
    """The latest jobs whose answers are still kept, the newest of them first; or those of one status."""
    return await state.jobs.recent(limit, status)


@router.get("/{job_id}")
async def get_job(state: Congrad, job_id: JobId, prefer: Prefer) -> wire.Job:
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
    """Cancels a job: one that has not been folded into its direction never will be. Of one that has succeeded and
    retains its gradients these are freed."""
    return await state.jobs.cancel(job_id)


_EVENT = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events.", "content": {EventSourceResponse.media_type: {"itemSchema": _EVENT}}}
}
"""How OpenAPI tells of them."""


async def _watch(state: Congrad, job_id: JobId) -> AsyncIterator[Watch]:
    """A dependency, so that it ends with the response, however that ends; a generator that its reader left behind ends
    when it is collected."""
    async with state.watch(job_id, follows=True) as watch:
        yield watch


@router.get("/{job_id}/events", response_class=Response, responses=EVENTS)
async def job_events(state: Congrad, watch: Annotated[Watch, Depends(_watch)]) -> StreamingResponse:
    """The job as it is now and at each change, as server-sent events named by its status. The stream ends with the job.

    It ends earlier where the service stops, or the job cannot be read any more; then ask again.
    """
    now = await watch.now()
    _ = now.job  # too late for a status and a problem document, once the stream has begun
    # Not by FastAPI's own way, which makes events anew for each one who watches.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_events(state, watch, now), media_type=EventSourceResponse.media_type, headers=headers)


async def _events(state: State, watch: Watch, reading: Reading) -> AsyncIterator[bytes]:
    yield reading.event
    while not (reading.is_final or state.draining.is_set()):
        now = await watch.after(reading, PING_S)
        if now is reading:
            yield KEEPALIVE_COMMENT
            continue
        reading = now
        try:
            yield reading.event
        except (NotFound, RedisError):
            return
