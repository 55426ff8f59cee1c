"""Whether Redis answers at all, and a client whose commands end when it does not.

How long a command takes says nothing of that: a value of hundreds of megabytes is under way for seconds, and the next
connection has its answers meanwhile. So one asks beside them, again and again, for next to nothing. A Redis at a long
script says after five seconds that it is busy, and that is an answer; so is every other error, and a connection that is
refused, for then commands end by themselves. Only where nothing comes has Redis fallen silent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import TimeoutError as RedisTimeoutError

from congrad_service.background import abandon, pause

T = TypeVar("T")

BEAT_S = 1.0
ANSWER_S = 1.75
TURNS = 20
"""In which the loop has looked for an answer. What is only timed would end while this process itself stands still, at
a very large body for instance."""

MISSES = 4
"""Answers that fail to come, one after the other, before Redis counts as silent: 7 to 8 s after the last one. Shorter
pauses are waited out."""

LEAVE_S = 1.0
"""For what is cancelled."""

ASKED = "return 1"
"""A script: it has to wait for what writes have to wait for. `PING` is answered while `CLIENT PAUSE WRITE` is on."""

CONNECTIONS = 32
"""To Redis at once: it has one thread, and so has this process. Who comes when all are taken waits for one; redis-py's
usual pool would say that Redis cannot be reached."""

TIMEOUT_S = 30.0
"""For one answer, and for a connection of the pool, where Redis is not silent: what is large may take long."""

log = logging.getLogger(__name__)


class Pulse:
    """Listens to one Redis for as long as `run` runs; before that it counts as one that answers."""

    def __init__(self, url: str):
        # Of its own: those of the others are not waited for.
        self._redis = Redis.from_url(url, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0))
        self._misses = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def is_silent(self) -> bool:
        """Whether Redis has answered nobody for a while."""
        return self._misses >= MISSES

    async def unless_silent(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What Redis is asked, for as long as it answers anybody.

        :raises redis.exceptions.TimeoutError: it has fallen silent. What was asked may be done all the same.
        """
        if self.is_silent:
            raise RedisTimeoutError("Redis is silent")
        # A task, which can be left behind: redis-py, and asyncio with it, may swallow a cancellation.
        asking = asyncio.ensure_future(ask())
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asking.add_done_callback(lambda _: _end(over))
        self._waiting.add(over)
        try:
            await over
            if not asking.done():
                raise RedisTimeoutError("Redis has fallen silent")
            return asking.result()
        except asyncio.CancelledError:
            await _ended(asking)
            raise
        finally:
            self._waiting.discard(over)
            abandon(asking)

    async def run(self, stopped: asyncio.Event) -> None:
        """Listens until it is stopped."""
        try:
            while not stopped.is_set():
                if await self._is_heard():
                    self._hear()
                    await pause(stopped, BEAT_S)
                else:
                    self._miss()
        finally:
            await self._redis.aclose()

    async def _is_heard(self) -> bool:
        asking = asyncio.ensure_future(self._redis.eval(ASKED, 0))
        try:
            for _ in range(TURNS):
                await asyncio.wait({asking}, timeout=ANSWER_S / TURNS)
                if asking.done():
                    # A host that does not answer to a connection is the one error that says nothing.
                    return not isinstance(asking.exception(), RedisTimeoutError)
            return False
        finally:
            await _ended(asking)

    def _hear(self) -> None:
        if self.is_silent:
            log.warning("Redis answers again")
        self._misses = 0

    def _miss(self) -> None:
        self._misses += 1
        if self._misses == MISSES:
            log.warning("Redis does not answer; requests are refused until it does")
            for over in self._waiting:
                _end(over)


async def _ended(asking: "asyncio.Future[Any]") -> None:
    """Cancels what is asked, and gives it a moment to give its connection back."""
    if not asking.done():
        abandon(asking)
        await asyncio.wait({asking}, timeout=LEAVE_S)


def _end(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


class HeardRedis(Redis):
    """A client whose commands and pipelines end with a timeout where Redis has fallen silent.

    :param pulse: that of the same Redis.
    """

    pulse: Pulse

    @classmethod
    def connected(cls, url: str, pulse: Pulse) -> "HeardRedis":
        """One with a pool of its own."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=5,
            health_check_interval=25,
            retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=3),
        )
        redis = cast("HeardRedis", cls.from_pool(pool))
        redis.pulse = pulse
        return redis

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        ask = partial(super().execute_command, *args, **options)
        return await self.pulse.unless_silent(ask)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "HeardPipeline":
        pipe = HeardPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.pulse = self.pulse
        return pipe


class HeardPipeline(Pipeline):
    """A pipeline of such a client."""

    pulse: Pulse

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        return await self.pulse.unless_silent(partial(super().execute, raise_on_error))
