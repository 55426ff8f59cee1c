"""`GET /events`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.responses import StreamingResponse

from congrad_service.jobs.feed import Onlooker
from congrad_service.routes.jobs import EVENTS, PING_S
from congrad_service.state import Congrad, State

router = APIRouter(tags=["jobs"])


async def _onlooker(state: Congrad) -> AsyncIterator[Onlooker]:
    """A dependency, so that he goes with the response, however that ends."""
    await state.redis.ping()  # too late for a status and a problem document, once the stream has begun
    async with state.feed.of(state.team) as onlooker:
        yield onlooker


@router.get("/events", response_class=Response, responses=EVENTS)
async def events(state: Congrad, onlooker: Annotated[Onlooker, Depends(_onlooker)]) -> StreamingResponse:
    """The latest jobs, the oldest of them first, and then each job that begins or changes: server-sent events named
    `job`, with a row of `GET /jobs` each. States that follow each other within a quarter of a second are one event.

    The stream ends where the service stops; then ask again.
    """
    # Not by FastAPI's own way, which takes a peer that goes while an event is on its way to him for a fault of ours.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_events(state, onlooker), media_type=EventSourceResponse.media_type, headers=headers)


async def _events(state: State, onlooker: Onlooker) -> AsyncIterator[bytes]:
    while not state.draining.is_set():
        jobs = None
        with suppress(TimeoutError):
            jobs = await asyncio.wait_for(onlooker.changes(), PING_S)
        if jobs is None:
            yield KEEPALIVE_COMMENT
        for job in jobs or ():
            # Escaped to ASCII: readers of lines take U+2028 for the end of one.
            yield format_sse_event(event="job", data_str=json.dumps(job.model_dump(mode="json")))
