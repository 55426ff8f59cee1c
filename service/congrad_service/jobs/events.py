"""Changes of jobs: one subscription a process, however many jobs are watched."""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from congrad.contract import wire
from redis.asyncio import Redis
from redis.exceptions import RedisError

from congrad_service import keys
from congrad_service.background import pause

POLL_S = 2.0
"""Pub/sub may lose a message (a reconnect, a full buffer); whoever waits looks for himself this often."""

Heard = Callable[[wire.JobStatus], None]

log = logging.getLogger(__name__)


class Events:
    """Tells those who watch a job when it changes.

    Subscribe, then read, then wait: a change between the reading and the waiting is not missed.
    """

    def __init__(self, redis: Redis):
        self._redis = redis
        self._waiting: defaultdict[str, list[Heard]] = defaultdict(list)
        self._watchers: list[Callable[[str], None]] = []

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Calls a function at each change of any job, with its id."""
        self._watchers.append(watcher)

    @contextmanager
    def of(self, job_id: str, heard: Heard) -> Iterator[None]:
        """Calls a function at each change of the job, with the status that it has then."""
        self._waiting[job_id].append(heard)
        try:
            yield
        finally:
            self._waiting[job_id].remove(heard)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def listen(self, stopped: asyncio.Event) -> None:
        """Keeps the subscription until it is stopped."""
        while not stopped.is_set():
            try:
                await self._listen(stopped)
            except RedisError as error:
                log.warning("lost the subscription to job events (%s); polling until it is back", error)
                await pause(stopped, POLL_S)

    async def _listen(self, stopped: asyncio.Event) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(keys.EVENTS)
            while not stopped.is_set():
                message = await pubsub.get_message(timeout=1.0)
                if message is not None:
                    change = json.loads(message["data"])
                    self._on_change(change["job"], wire.JobStatus(change["status"]))

    def _on_change(self, job_id: str, status: wire.JobStatus) -> None:
        for heard in self._waiting.get(job_id, ()):
            heard(status)
        for watcher in self._watchers:
            watcher(job_id)
