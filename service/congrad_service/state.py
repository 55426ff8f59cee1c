"""What one service process holds, made once and handed to the routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from congrad_service.directions import Directions
from congrad_service.events import Events
from congrad_service.jobs import Jobs
from congrad_service.queue import Queue
from congrad_service.registry import Registry
from congrad_service.settings import ServiceSettings


@dataclass
class State:
    """Stores and connections of a service process."""

    settings: ServiceSettings
    redis: Redis
    jobs: Jobs
    directions: Directions
    registry: Registry
    events: Events
    queue: Queue
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is about to stop: whoever waits for a job is answered 202 and asks the next process."""

    def drain(self) -> None:
        """Answers everyone who waits."""
        self.draining.set()
        self.events.wake_all()


@asynccontextmanager
async def open_state(settings: ServiceSettings) -> AsyncIterator[State]:
    """Connects to Redis and the broker, and closes both."""
    redis = Redis.from_url(
        settings.redis_url,
        socket_timeout=30,
        socket_connect_timeout=5,
        health_check_interval=25,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=3),
    )
    events = Events(redis)
    state = State(settings, redis, Jobs(redis, settings), Directions(redis), Registry(redis), events, Queue(settings))
    try:
        async with events.listening():
            yield state
    finally:
        state.queue.close()
        await redis.aclose()


def _of(request: Request) -> State:
    return cast("State", request.app.state.congrad)


Congrad = Annotated[State, Depends(_of)]
