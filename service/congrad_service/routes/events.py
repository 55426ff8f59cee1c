"""`GET /events`."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from congrad_service.jobs.feed import Onlooker
from congrad_service.state import Congrad

router = APIRouter(tags=["jobs"])


async def _onlooker(state: Congrad) -> AsyncIterator[Onlooker]:
    """A dependency, so that he goes with the response, however that ends."""
    await state.redis.ping()  # too late for a status and a problem document, once the stream has begun
    async with state.feed.of(state.team) as onlooker:
        yield onlooker


@router.get("/events", response_class=EventSourceResponse)
async def events(state: Congrad, onlooker: Annotated[Onlooker, Depends(_onlooker)]) -> AsyncIterator[ServerSentEvent]:
    """The latest jobs, the oldest of them first, and then each job that begins or changes: server-sent events named
    `job`, with a row of `GET /jobs` each. States that follow each other within a quarter of a second are one event.

    The stream ends where the service stops; then ask again.
    """
    while not state.draining.is_set():
        for job in await onlooker.changes():
            # Escaped to ASCII: readers of lines take U+2028 for the end of one.
            yield ServerSentEvent(event="job", raw_data=json.dumps(job.model_dump(mode="json")))
