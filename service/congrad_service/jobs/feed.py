"""Changes of all jobs, for whoever looks on: read once a process, however many jobs change and however many look."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.background import pause
from congrad_service.jobs.events import POLL_S, Events
from congrad_service.jobs.job_summaries import summaries

PAUSE_S = 0.25
"""Between two readings. What changes more often is told as it is then."""

LISTED = 50
"""The latest jobs of a team: whoever begins to look on is told of them, and they are looked at when nothing tells."""

MOST = 500
"""Jobs that are remembered for one who looks on, and that wait for one who reads slowly."""

log = logging.getLogger(__name__)


class Onlooker:
    """Who looks on at the jobs of a team."""

    def __init__(self, team: str | None):
        self.team = team
        self.is_new = True
        self._told: dict[str, wire.JobSummary] = {}  # or about to be
        self._waiting: dict[str, wire.JobSummary] = {}
        self._woken = asyncio.Event()

    @property
    def unfinished(self) -> list[str]:
        """The ids of jobs that had not ended when he was told of them."""
        return [job.id for job in self._told.values() if not job.status.ended]

    async def changes(self) -> list[wire.JobSummary]:
        """The jobs that have changed since the last call, or that he was not told of, once there are any; the latest
        change last. None of them when he is woken for nothing."""
        await self._woken.wait()
        self._woken.clear()
        changed, self._waiting = self._waiting, {}
        return list(changed.values())

    def wake(self) -> None:
        """Ends his wait."""
        self._woken.set()

    def tell(self, jobs: Iterable[wire.JobSummary]) -> None:
        """Hands him those that are news to him."""
        for job in jobs:
            if self._told.get(job.id) != job:
                for known in (self._told, self._waiting):
                    known.pop(job.id, None)
                    known[job.id] = job
                    if len(known) > MOST:
                        del known[next(iter(known))]
                self.wake()


class Feed:
    """Reads jobs that change, and hands them to those who look on at their team."""

    def __init__(self, redis: Redis, events: Events):
        self._redis = redis
        self._onlookers: set[Onlooker] = set()
        self._changed: set[str] = set()
        self._due = asyncio.Event()
        self._looked = 0.0  # when all were looked at, by a clock that does not jump
        events.watch(self._note)

    @asynccontextmanager
    async def of(self, team: str | None) -> AsyncIterator[Onlooker]:
        """One who is told of the latest jobs of a team, and then of each one that changes."""
        onlooker = Onlooker(team)
        self._onlookers.add(onlooker)
        self._due.set()
        try:
            yield onlooker
        finally:
            self._onlookers.discard(onlooker)

    def wake_all(self) -> None:
        """Ends the waits of all, for instance because the service is about to stop."""
        for onlooker in self._onlookers:
            onlooker.wake()

    async def run(self, stopped: asyncio.Event) -> None:
        """Reads and tells until it is stopped."""
        while not stopped.is_set():
            await self._wait()
            is_due = time.monotonic() - self._looked >= POLL_S
            changed, self._changed = self._changed, set()
            try:
                await self._tell(changed, is_due)
            except Exception as error:  # the next reading is another try, and must come
                log.warning("could not read the jobs that changed: %s", type(error).__name__)
                self._changed |= changed
            await pause(stopped, PAUSE_S)

    def _note(self, job_id: str) -> None:
        if self._onlookers:
            self._changed.add(job_id)
            self._due.set()

    async def _wait(self) -> None:
        """Waits until there is something to tell, or it is time to look whether a message was lost."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._due.wait(), POLL_S if self._onlookers else None)
        self._due.clear()

    async def _tell(self, changed: set[str], is_due: bool) -> None:
        """:param is_due: whether all that may have changed unnoticed is to be looked at."""
        onlookers = list(self._onlookers)
        looking = [onlooker for onlooker in onlookers if is_due or onlooker.is_new]
        if is_due:
            self._looked = time.monotonic()
        wanted = {*changed, *(job_id for onlooker in looking for job_id in onlooker.unfinished)}
        wanted.update(await self._latest([*{onlooker.team for onlooker in looking}]))
        found = await summaries(self._redis, list(wanted))
        found.sort(key=lambda one: one.summary.created)
        for onlooker in onlookers:
            onlooker.tell(one.summary for one in found if one.team == onlooker.team)
        for onlooker in looking:
            onlooker.is_new = False

    async def _latest(self, teams: Sequence[str | None]) -> list[str]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for team in teams:
                pipe.zrange(keys.recent_jobs(team), 0, LISTED - 1, desc=True)
            found = cast("list[list[bytes]]", await pipe.execute())
        return [job_id.decode() for ids in found for job_id in ids]
