"""Jobs whose checkpoint nobody serves any more are ended: they would fill the queue until they expire.

A worker that is restarted is away for as long as it loads, some minutes for a large checkpoint. So one
has to be away for an hour, as this process has seen it, and for each job: one that has come late waits as long.
"""

import asyncio
import logging
import time
from typing import cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys, scripts
from congrad_service.background import pause
from congrad_service.http.errors import RETRY_AFTER_S, Unavailable, problem_of
from congrad_service.queue.queue import Queue
from congrad_service.queue.registry import Registry
from congrad_service.scripts import ending
from congrad_service.settings import RedisSettings

AWAY_S = 3600.0
SWEEP_S = 30.0

log = logging.getLogger(__name__)


class Stranded:
    """Watches the checkpoints that unfinished jobs wait for.

    :param settings: say for how long the error of a job that is ended here can be read.
    """

    def __init__(self, redis: Redis, queue: Queue, registry: Registry, settings: RedisSettings):
        self._redis = redis
        self._queue = queue
        self._registry = registry
        self._settings = settings
        self._end = redis.register_script(scripts.END)
        self._away: dict[str, float] = {}  # since when its checkpoint is, by job

    async def run(self, stopped: asyncio.Event) -> None:
        """Sweeps until it is stopped."""
        while not stopped.is_set():
            try:
                await self.sweep(time.monotonic())
            except Exception as error:  # the next sweep is another try, and must come
                log.warning("could not look for stranded jobs: %s: %s", type(error).__name__, error)
            await pause(stopped, SWEEP_S)

    async def sweep(self, now: float) -> list[str]:
        """Ends the jobs that wait for a checkpoint which has been away for too long, and says which.

        :param now: seconds of a clock that does not jump.
        """
        served = {checkpoint.fingerprint for checkpoint in await self._registry.served()}
        waiting = {job: wanted for job, wanted in (await self._waiting()).items() if wanted[0] not in served}
        self._away = {job: self._away.get(job, now) for job in waiting}
        late = {job: wanted for job, wanted in waiting.items() if now - self._away[job] >= AWAY_S}
        for job, (_, name, chunks) in late.items():
            await self._fail(job, name, chunks)
        waited_for = {fingerprint for job, (fingerprint, _, _) in waiting.items() if job not in late}
        for fingerprint in {fingerprint for fingerprint, _, _ in late.values()} - waited_for:
            # Each round of training has its own queue. Messages alone: a job may have come since, whose message is
            # missed, and whose turn would not be.
            await asyncio.to_thread(self._queue.purge, keys.gradients_queue(fingerprint))
        return list(late)

    async def _waiting(self) -> dict[str, tuple[str, str, int]]:
        """Fingerprint and name of the checkpoint, and the number of chunks, of each job that lacks gradients."""
        ids = [job.decode() for job in cast("list[bytes]", await self._redis.zrange(keys.JOBS_ACTIVE, 0, -1))]
        async with self._redis.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.scard(keys.pending(job))
                pipe.hmget(keys.job(job), ["fingerprint", "checkpoint", "chunks"])
            found = await pipe.execute()
        return {
            job: (fingerprint.decode(), name.decode(), int(chunks))
            for job, missing, (fingerprint, name, chunks) in zip(ids, found[::2], found[1::2], strict=True)
            if missing and fingerprint is not None
        }

    async def _fail(self, job: str, name: str, chunks: int) -> None:
        log.warning("job %s: given up, for no worker serves its checkpoint any more", job)
        detail = f"no worker has served checkpoint {name!r} for {AWAY_S / 60:.0f} minutes"
        problem = problem_of(Unavailable(detail, retry_after=RETRY_AFTER_S))
        await self._end(**ending.end(job, chunks, wire.JobStatus.FAILED, problem, self._settings))
