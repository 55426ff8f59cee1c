"""What one service process holds, made once and handed to the routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, cast

from congrad.contract import wire
from fastapi import Depends, Request
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from congrad_service.access.tokens import Caller
from congrad_service.background import background
from congrad_service.directions.directions import Directions
from congrad_service.jobs.events import Events
from congrad_service.jobs.feed import Feed
from congrad_service.jobs.jobs import Jobs
from congrad_service.jobs.watching import Watch, Watching
from congrad_service.observability.metrics import Metrics
from congrad_service.queue.depth import Depth
from congrad_service.queue.known import Known, Remembering
from congrad_service.queue.publications import Publications
from congrad_service.queue.queue import Queue
from congrad_service.queue.recovery import Recovery
from congrad_service.queue.registry import Registry
from congrad_service.queue.stranded import Stranded
from congrad_service.settings import ServiceSettings

REDIS = ("redis://", "rediss://")
"""What the URL of a broker begins with whose messages can be read."""

CONNECTIONS = 32
"""To Redis at once: it has one thread, and so has this process. Who comes when all are taken waits for one; redis-py's
usual pool would say that Redis cannot be reached."""

POOL_S = 30.0
"""How long: as long as for an answer."""


@dataclass
class State:
    """Stores and connections of a service process."""

    settings: ServiceSettings
    redis: Redis
    broker: Redis | None
    """Celery's, where that is Redis."""
    jobs: Jobs
    directions: Directions
    registry: Registry
    known: Known | None
    """Checkpoints that need not be served; None where they have to be."""
    publications: Publications
    depth: Depth
    events: Events
    watching: Watching
    feed: Feed
    queue: Queue
    metrics: Metrics
    team: str | None = None
    """Whose jobs and directions these are."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is about to stop: whoever waits for a job is answered 202 and asks the next process."""

    def of(self, caller: Caller) -> "State":
        """The same, with the directions and jobs of the caller's team."""
        team = caller.team
        return replace(self, team=team, jobs=self.jobs.of(team), directions=self.directions.of(team))

    async def known_checkpoints(self) -> list[wire.Checkpoint]:
        """Those that a request may wait for."""
        return [] if self.known is None else await self.known.checkpoints()

    def watch(self, job_id: str, follows: bool) -> AbstractAsyncContextManager[Watch]:
        """A job of the team, for one who watches it: each of its changes, or its end."""
        return self.watching.of(self.team, job_id, partial(self.jobs.get, job_id), follows)

    def drain(self) -> None:
        """Answers everyone who waits."""
        self.draining.set()
        self.watching.close()
        self.feed.wake_all()


@asynccontextmanager
async def open_state(settings: ServiceSettings, metrics: Metrics) -> AsyncIterator[State]:
    """Connects to Redis and the broker, and closes both."""
    redis = _connect(settings.redis_url)
    events, queue = Events(redis), Queue(settings)
    watching, feed = Watching(events), Feed(redis, events)
    broker = _connect(settings.celery_broker) if settings.celery_broker.startswith(REDIS) else None
    jobs, directions, registry = Jobs(redis, settings), Directions(redis), Registry(redis)
    known = Known(redis) if settings.scale_from_zero else None
    publications, depth = Publications(redis, registry, settings), Depth(redis, broker, queue, registry, settings)
    state = State(
        settings,
        redis,
        broker,
        jobs,
        directions,
        registry,
        known,
        publications,
        depth,
        events,
        watching,
        feed,
        queue,
        metrics,
    )
    async with AsyncExitStack() as running:
        running.push_async_callback(redis.aclose)
        running.callback(queue.close)
        await running.enter_async_context(background(events.listen))
        await running.enter_async_context(background(feed.run))
        stranded = Stranded(redis, queue, registry, settings)
        await running.enter_async_context(background(stranded.run))
        if known is not None:
            await running.enter_async_context(background(Remembering(redis, known, registry).run))
        if broker is not None:
            running.push_async_callback(broker.aclose)
        await running.enter_async_context(background(Recovery(redis, broker, queue, metrics).run))
        yield state


def _connect(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=POOL_S,
        socket_timeout=30,
        socket_connect_timeout=5,
        health_check_interval=25,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=3),
    )
    return Redis.from_pool(pool)


def _of(request: Request) -> State:
    """The stores as the request's caller sees them: no route is handed those of another team."""
    return cast("State", request.app.state.congrad).of(request.state.caller)


Congrad = Annotated[State, Depends(_of)]
