"""What waits: unfinished jobs, and the tasks that no worker has taken up yet."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from amqp import AMQPError  # type: ignore[import-untyped] # no stubs, as kombu
from congrad.contract import wire
from kombu.exceptions import OperationalError
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.http.errors import RETRY_AFTER_S, Unavailable
from congrad_service.queue.queue import Queue
from congrad_service.queue.registry import Registry
from congrad_service.settings import ServiceSettings


class Depth:
    """The queue of all teams.

    :param broker: the Redis that is Celery's broker; None where it is no Redis.
    """

    def __init__(self, redis: Redis, broker: Redis | None, queue: Queue, registry: Registry, settings: ServiceSettings):
        self._redis = redis
        self._broker = broker
        self._queue = queue
        self._registry = registry
        self._settings = settings

    async def read(self) -> wire.Queue:
        """How it stands. A checkpoint is named that a worker serves, or that a job waits for.

        :raises Unavailable: the broker is no Redis, and does not answer.
        """
        now, active = await self._active()
        names = await self._checkpoints([job_id for job_id, _ in active])
        *waiting, decide = await self._lengths([*map(keys.gradients_queue, names), keys.DECIDE_QUEUE])
        unfinished = await self._unfinished(names)
        return wire.Queue(
            active=len(active),
            limit=self._settings.max_queue,
            oldest_s=max((max(now - created, 0.0) for _, created in active), default=None),
            checkpoints=[
                wire.CheckpointQueue(checkpoint=name, fingerprint=fingerprint, tasks=tasks, work=work)
                for (fingerprint, name), tasks, work in zip(names.items(), waiting, unfinished, strict=True)
            ],
            decide=decide,
        )

    async def _active(self) -> tuple[float, list[tuple[str, float]]]:
        """The time, and ids and times of creation of the unfinished jobs, by Redis's clock; not those that expired."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(keys.JOBS_ACTIVE, 0, -1, withscores=True)
            (seconds, micros), jobs = await pipe.execute()
        now = seconds + micros / 1e6
        found = cast("list[tuple[bytes, float]]", jobs)
        return now, [(job.decode(), at) for job, at in found if at > now - self._settings.job_ttl]

    async def _checkpoints(self, jobs: Sequence[str]) -> Mapping[str, str]:
        """Names of checkpoints by fingerprint, sorted by name."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in jobs:
                pipe.hmget(keys.job(job_id), ["fingerprint", "checkpoint"])
            wanted = cast("list[tuple[bytes | None, bytes]]", await pipe.execute())
        names = {fingerprint.decode(): name.decode() for fingerprint, name in wanted if fingerprint is not None}
        names |= {served.fingerprint: served.name for served in await self._registry.served()}
        return dict(sorted(names.items(), key=lambda item: item[::-1]))

    async def _unfinished(self, fingerprints: Iterable[str]) -> list[int]:
        """How many chunks of each checkpoint wait or are being computed."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for fingerprint in fingerprints:
                pipe.zcard(keys.unfinished(fingerprint))
            return cast("list[int]", await pipe.execute())

    async def _lengths(self, queues: Sequence[str]) -> list[int]:
        if self._broker is None:
            found = await asyncio.to_thread(self._asked, queues)
            return [found[queue] for queue in queues]
        async with self._broker.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(queue)
            return cast("list[int]", await pipe.execute())

    def _asked(self, queues: Sequence[str]) -> dict[str, int]:
        try:
            return self._queue.lengths(queues)
        except (OSError, OperationalError, AMQPError) as error:  # what kombu lets through of a connection
            raise Unavailable("the queue cannot be reached", retry_after=RETRY_AFTER_S) from error
