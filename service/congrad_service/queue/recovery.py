"""Pieces of work that nobody is at any more are put back into the queue.

A message that a killed worker held comes back by itself only after the visibility timeout, which is longer than any
task takes. One that the worker had taken and not yet noted is gone for good: kombu takes it and notes it in two steps.
So the state of the jobs is what counts. A piece of work of an unfinished job, a chunk without gradients or a decision
that is due, is lost unless a live worker says that it is at it, its task waits in the queue, or has just been handed
out. A task that is sent twice changes nothing: whoever gets the second one finds the work done, or being done.

Other brokers, such as RabbitMQ, give a message back as soon as the worker's connection is gone. Whoever gets it then
finds that the worker is not yet known to be gone, and lets it be; so there, too, the state of the jobs is what counts.
What waits in their queues cannot be read: work is lost where nobody is at it and nothing waits in its queue.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.background import pause
from congrad_service.observability.metrics import Metrics
from congrad_service.queue.broker import Messages, Task, messages
from congrad_service.queue.queue import Queue
from congrad_service.queue.registry import SILENT_S

SWEEP_S = 1.0
GRACE_S = 3.0
"""How old a piece of work is before it is missed: it takes a moment to get into the queue, and out of it."""
SEARCH_S = 3.0
"""How often the queues are searched for work that nobody has started, at most: they can be long."""
SEARCH_SHARE = 0.05
"""Of the time, at most, goes into that."""
HANDED_OUT_S = 10.0
"""How long a worker may hold a task before it starts it; one that still loads its checkpoint holds one for longer."""
LOCK_S = 20
"""After this another process sweeps, if the one that does has died in the middle."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Work that an unfinished job waits for: a chunk's gradients, or with no chunk the decision.

    ``started`` says whether a worker has begun with it; ``since`` when one could have (seconds, by Redis's clock).
    """

    job_id: str
    fingerprint: str
    chunk: int | None
    started: bool
    since: float

    @property
    def task(self) -> Task:
        """The task that does it."""
        if self.chunk is None:
            return keys.DECIDE_TASK, self.job_id
        return keys.GRADIENTS_TASK, self.job_id, self.chunk

    @property
    def doing(self) -> str:
        """There while a worker is at it."""
        return keys.doing(self.job_id, keys.DECIDE_WORK if self.chunk is None else keys.gradients_work(self.chunk))

    @property
    def queue(self) -> str:
        """Where that task waits."""
        return keys.DECIDE_QUEUE if self.chunk is None else keys.gradients_queue(self.fingerprint)


class Recovery:
    """Sweeps the unfinished jobs of one Redis; of several processes that do, one at a time.

    :param broker: the Redis that is Celery's broker; None where it is no Redis.
    """

    def __init__(self, redis: Redis, broker: Redis | None, queue: Queue, metrics: Metrics):
        self._redis = redis
        self._broker = broker
        self._queue = queue
        self._recovered = metrics.recovered
        self._sent: dict[Task, float] = {}  # when work was sent again
        self._handed_out: dict[Task, float] = {}  # when tasks were first seen with a worker
        self._next_search = 0.0

    async def run(self, stopped: asyncio.Event) -> None:
        """Sweeps until it is stopped."""
        while not stopped.is_set():
            seconds = SWEEP_S
            try:
                if await self._redis.set(keys.RECOVERY, "1", nx=True, ex=LOCK_S):
                    await self.sweep()
                    await self._redis.pexpire(keys.RECOVERY, int(900 * SWEEP_S))
            except Exception as error:  # the next sweep is another try, and must come
                log.warning("could not look for lost work: %s: %s", type(error).__name__, error)
                seconds = 2 * SILENT_S  # where Redis was away, workers were silent through no fault of theirs
            await pause(stopped, seconds)

    async def sweep(self) -> list[Task]:
        """Puts what is lost back into the queue, and says what that was."""
        now = await self._now()
        pieces = [piece async for piece in self._pieces(now)]
        known = {piece.task for piece in pieces}
        self._sent = {task: at for task, at in self._sent.items() if task in known}
        due = [piece for piece in pieces if now - self._sent.get(piece.task, piece.since) > GRACE_S]
        lost = await self._lost(await self._idle(due), now)
        for piece in lost:
            log.warning("job %s: %s was lost and is queued again", piece.job_id, _name(piece))
            await self._send(piece)
            self._sent[piece.task] = now
            self._recovered.labels("decide" if piece.chunk is None else "gradients").inc()
        return [piece.task for piece in lost]

    async def _now(self) -> float:
        seconds, micros = await self._redis.time()
        return float(seconds + micros / 1e6)

    async def _pieces(self, now: float) -> AsyncIterator[Piece]:
        ids = cast("list[bytes]", await self._redis.zrangebyscore(keys.JOBS_ACTIVE, "-inf", now - GRACE_S))
        async with self._redis.pipeline() as pipe:
            for job_id in ids:
                pipe.hgetall(keys.job(job_id.decode()))
                pipe.smembers(keys.pending(job_id.decode()))
            found = await pipe.execute()
        for job_id, raw, pending in zip(ids, found[::2], found[1::2], strict=True):
            fields = {name.decode(): value.decode() for name, value in cast("dict[bytes, bytes]", raw).items()}
            if fields and not wire.JobStatus(fields["status"]).ended:
                for piece in _pieces_of(job_id.decode(), fields, sorted(int(n) for n in pending)):
                    yield piece

    async def _idle(self, pieces: list[Piece]) -> list[Piece]:
        """Those that no worker says it is at."""
        doing = await self._redis.mget([piece.doing for piece in pieces]) if pieces else []
        return [piece for piece, worker in zip(pieces, doing, strict=True) if worker is None]

    async def _lost(self, idle: list[Piece], now: float) -> list[Piece]:
        if not idle or (now < self._next_search and not any(piece.started for piece in idle)):
            return []
        begun = time.monotonic()
        found = await self._messages(sorted({piece.queue for piece in idle}))
        self._next_search = now + max(SEARCH_S, (time.monotonic() - begun) / SEARCH_SHARE)
        self._handed_out = {task: self._handed_out.get(task, now) for task in found.delivered}
        open_ = [piece for piece in idle if piece.queue not in found.closed]
        return [piece for piece in open_ if piece.task not in found.waiting and not self._is_held(piece, now)]

    async def _messages(self, queues: list[str]) -> Messages:
        if self._broker is not None:
            return await messages(self._broker, queues)
        lengths = await asyncio.to_thread(self._queue.lengths, queues)
        return Messages(closed=frozenset(queue for queue, length in lengths.items() if length))

    def _is_held(self, piece: Piece, now: float) -> bool:
        """Whether a worker may be about to start it. One that has been started is not: its worker is gone."""
        handed_out = self._handed_out.get(piece.task)
        return not piece.started and handed_out is not None and now - handed_out < HANDED_OUT_S

    async def _send(self, piece: Piece) -> None:
        if piece.chunk is None:
            await asyncio.to_thread(self._queue.enqueue_decision, piece.job_id)
        else:
            await asyncio.to_thread(self._queue.enqueue_chunk, piece.job_id, piece.chunk, piece.fingerprint)


def _pieces_of(job_id: str, fields: Mapping[str, str], pending: list[int]) -> Iterator[Piece]:
    fingerprint, created = fields["fingerprint"], float(fields["created"])
    for number in pending:
        yield Piece(job_id, fingerprint, number, f"attempts:{keys.gradients_work(number)}" in fields, created)
    if not pending:
        since = float(fields.get("gradients_done", created))
        yield Piece(job_id, fingerprint, None, f"attempts:{keys.DECIDE_WORK}" in fields, since)


def _name(piece: Piece) -> str:
    return "its decision" if piece.chunk is None else f"chunk {piece.chunk}"
