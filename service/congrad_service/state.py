"""What one service process holds, made once and handed to the routes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, cast

from congrad.contract import wire
from fastapi import Depends, Request

from congrad_service import eviction
from congrad_service.access.tokens import Caller
from congrad_service.background import background
from congrad_service.directions.directions import Directions
from congrad_service.jobs.events import Events
from congrad_service.jobs.feed import Feed
from congrad_service.jobs.jobs import Jobs
from congrad_service.jobs.watching import Watch, Watching
from congrad_service.observability.metrics import Metrics
from congrad_service.pulse import HeardRedis, Pulse
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


@dataclass
class State:
    """Stores and connections of a service process."""

    settings: ServiceSettings
    redis: HeardRedis
    broker: HeardRedis | None
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

    async def send(self, messages: Callable[[], None]) -> None:
        """Has messages sent to the workers. Celery's producer blocks; a thread keeps the event loop free.

        :param messages: sends them.
        :raises redis.exceptions.TimeoutError: the broker is a Redis that has fallen silent. They may be sent later.
        """
        if self.broker is None:
            await asyncio.to_thread(messages)
        else:
            await self.broker.pulse.unless_silent(lambda: asyncio.to_thread(messages))

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
    redis = HeardRedis.connected(settings.redis_url, Pulse(settings.redis_url))
    events, queue = Events(redis), Queue(settings)
    watching, feed = Watching(events), Feed(redis, events)
    broker = _broker(settings, redis.pulse) if settings.celery_broker.startswith(REDIS) else None
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
        await running.enter_async_context(background(redis.pulse.run))
        await running.enter_async_context(background(partial(eviction.warn, redis)))
        await running.enter_async_context(background(events.listen))
        await running.enter_async_context(background(feed.run))
        stranded = Stranded(redis, queue, registry, settings)
        await running.enter_async_context(background(stranded.run))
        if known is not None:
            await running.enter_async_context(background(Remembering(redis, known, registry).run))
        if broker is not None:
            running.push_async_callback(broker.aclose)
            if broker.pulse is not redis.pulse:
                await running.enter_async_context(background(broker.pulse.run))
        await running.enter_async_context(background(Recovery(redis, broker, queue, metrics).run))
        yield state


def _broker(settings: ServiceSettings, pulse: Pulse) -> HeardRedis:
    """A client of Celery's, which is the same Redis as a rule.

    :param pulse: that of the other one.
    """
    url = settings.celery_broker
    return HeardRedis.connected(url, pulse if settings.broker_url in (None, settings.redis_url) else Pulse(url))


def _of(request: Request) -> State:
    """The stores as the request's caller sees them: no route is handed those of another team."""
    return cast("State", request.app.state.congrad).of(request.state.caller)


Congrad = Annotated[State, Depends(_of)]
