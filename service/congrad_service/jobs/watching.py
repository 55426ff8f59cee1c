"""Who watches a job: it is read once for all of them, however many requests wait for it; at each of its changes where
somebody follows it, else at its end."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import cached_property

from congrad.contract import wire
from fastapi.sse import format_sse_event
from redis.exceptions import RedisError

from congrad_service.jobs.events import POLL_S, Events

Read = Callable[[], Awaitable[wire.Job]]


class Reading:
    """A job as it was read, or why it could not be."""

    def __init__(self, found: wire.Job | Exception):
        self._found = found

    @property
    def job(self) -> wire.Job:
        """It.

        :raises NotFound: no such job, or its answer has expired.
        :raises RedisError: Redis did not answer.
        """
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    @cached_property
    def event(self) -> bytes:
        """The job as a server-sent event that is named by its status. Its bytes are those of all who watch: it may be
        large, and they may be many."""
        # Escaped to ASCII: readers of lines, httpx's among them, take U+2028 in an id for the end of one.
        return format_sse_event(event=self.job.status, data_str=json.dumps(self.job.model_dump(mode="json")))

    @property
    def is_final(self) -> bool:
        """Whether there is nothing to come. Redis may answer again."""
        if isinstance(self._found, Exception):
            return not isinstance(self._found, RedisError)
        return self._found.status.ended

    def says(self, other: "Reading") -> bool:
        """Whether it is the same in both."""
        return self._found == other._found


class Watch:
    """One job, for as long as somebody watches it."""

    def __init__(self, read: Read):
        self.watchers = 0
        self.followers = 0  # those of them who want to know of each change
        self.task: asyncio.Task[None] | None = None
        self._read = read
        self._changed = asyncio.Event()
        self._latest: Reading | None = None
        self._begun = self._ended = 0  # readings
        self._told = asyncio.Event()
        self._is_closed = False

    async def now(self) -> Reading:
        """The job as it is now. Those who ask at the same time get one reading, which begins when they have asked."""
        wanted = self._begun + 1
        self._changed.set()
        while self._latest is None or not (self._latest.is_final or self._ended >= wanted):
            await self._told.wait()
        return self._latest

    async def after(self, known: Reading, seconds: float) -> Reading:
        """The first reading that says something new; the known one where there is none in time, or the process is
        about to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._latest is known and not self._is_closed:
                    await self._told.wait()
        return self._latest or known

    def close(self) -> None:
        """Ends the waits for what is new."""
        self._is_closed = True
        self._tell()

    async def run(self, events: Events, job_id: str) -> None:
        """Reads at changes, and now and then, until nobody watches or there is nothing to come."""
        with events.of(job_id, self._heard):
            while self.watchers:
                self._changed.clear()  # what changes from here on is read in the next turn
                self._begun += 1
                found = await self._reading()
                self._ended = self._begun
                if self._latest is None or not found.says(self._latest):
                    self._latest = found
                self._tell()
                if found.is_final:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), POLL_S)

    def _heard(self, status: wire.JobStatus) -> None:
        if self.followers or status.ended:
            self._changed.set()

    async def _reading(self) -> Reading:
        try:
            return Reading(await self._read())
        except Exception as error:  # it is the watchers'
            return Reading(error)

    def _tell(self) -> None:
        told, self._told = self._told, asyncio.Event()
        told.set()


class Watching:
    """The jobs that are watched in this process.

    :param events: tells of their changes.
    """

    def __init__(self, events: Events):
        self._events = events
        self._watches: dict[tuple[str | None, str], Watch] = {}

    @asynccontextmanager
    async def of(self, team: str | None, job_id: str, read: Read, follows: bool) -> AsyncIterator[Watch]:
        """A job of a team, for one who watches it.

        :param read: reads it, for those who come later too.
        :param follows: whether each change is wanted, and not the end alone.
        """
        key = (team, job_id)
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = Watch(read)
            watch.task = asyncio.create_task(self._run(key, watch))
        watch.watchers += 1
        watch.followers += follows
        try:
            yield watch
        finally:
            watch.watchers -= 1
            watch.followers -= follows
            if not watch.watchers:
                self._forget(key, watch)
                if watch.task is not None:
                    watch.task.cancel()

    def close(self) -> None:
        """Ends the waits of all, for instance because the process is about to stop."""
        for watch in self._watches.values():
            watch.close()

    async def _run(self, key: tuple[str | None, str], watch: Watch) -> None:
        await watch.run(self._events, key[1])
        self._forget(key, watch)  # who comes now has it read anew: an answer expires

    def _forget(self, key: tuple[str | None, str], watch: Watch) -> None:
        if self._watches.get(key) is watch:
            del self._watches[key]
