"""Pieces of work that nobody is at any more are put back into the queue.

A message that a killed worker held comes back by itself only after the visibility timeout, which is longer than any
task takes. One that the worker had taken and not yet noted is gone for good: kombu takes it and notes it in two steps.
So the state of the jobs is what counts. A piece of work of an unfinished job, a chunk without gradients or a decision
that is due, is lost where its owner, the worker that started it last, has gone silent; or where it has none, and
neither waits in the queue nor has just been handed out. Sending it twice changes nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

from congrad import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.broker import Messages, Task, messages
from congrad_service.queue import Queue
from congrad_service.registry import Registry, Role

SWEEP_S = 1.0
SILENT_S = 5.0
"""Without a heartbeat for so long, a worker has lost what it was doing. If it has not, the work is done twice."""
GRACE_S = 3.0
"""How old a piece of work is before it is missed: it takes a moment to get into the queue, and out of it."""
SEARCH_S = 3.0
"""How often the queues are searched for work that nobody has started; they can be long."""
HANDED_OUT_S = 10.0
"""How long a worker may hold a task before it starts it; one that still loads its checkpoint holds one for longer."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Work that an unfinished job waits for: a chunk's gradients, or with no chunk the decision.

    ``owner`` is the worker that started it last, None where nobody has; ``since`` when it could have been started
    (seconds, by Redis's clock).
    """

    job_id: str
    fingerprint: str
    chunk: int | None
    owner: str | None
    since: float

    @property
    def task(self) -> Task:
        """The task that does it."""
        if self.chunk is None:
            return keys.DECIDE_TASK, self.job_id
        return keys.GRADIENTS_TASK, self.job_id, self.chunk

    @property
    def queue(self) -> str:
        """Where that task waits."""
        return keys.DECIDE_QUEUE if self.chunk is None else keys.gradients_queue(self.fingerprint)


class Recovery:
    """Sweeps the unfinished jobs of one Redis; of several processes that do, one at a time.

    :param broker: Celery's broker, if it is a Redis; one that keeps its messages itself needs no search for them.
    """

    def __init__(self, redis: Redis, broker: Redis | None, registry: Registry, queue: Queue):
        self._redis = redis
        self._broker = broker
        self._registry = registry
        self._queue = queue
        self._sent: dict[Task, float] = {}
        self._searched = 0.0
        self._stopped = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweeps for the time of the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            # While it connects, redis-py was seen to swallow a cancellation; the flag ends the task all the same.
            self._stopped = True
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while not self._stopped:
            try:
                if await self._redis.set(keys.RECOVERY, "1", nx=True, px=int(900 * SWEEP_S)):
                    await self.sweep()
            except Exception as error:  # the next sweep is another try, and must come
                log.warning("could not look for lost work: %s: %s", type(error).__name__, error)
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> list[Task]:
        """Puts what is lost back into the queue, and says what that was."""
        seconds, micros = await self._redis.time()
        now = seconds + micros / 1e6
        pieces = [piece async for piece in self._pieces(now)]
        self._sent = {task: at for task, at in self._sent.items() if task in {piece.task for piece in pieces}}
        due = [piece for piece in pieces if now - self._sent.get(piece.task, piece.since) > GRACE_S]
        lost = await self._lost(due, now) if due else []
        for piece in lost:
            log.warning("job %s: %s was lost and is queued again", piece.job_id, _name(piece))
            await self._send(piece)
            self._sent[piece.task] = now
        return [piece.task for piece in lost]

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

    async def _lost(self, pieces: list[Piece], now: float) -> list[Piece]:
        live = {worker for role in Role for worker in await self._registry.live(role, within=SILENT_S)}
        idle = [piece for piece in pieces if piece.owner not in live]
        orphans = [piece for piece in idle if piece.owner is not None]
        if self._broker is None or (not orphans and now - self._searched < SEARCH_S):
            return orphans
        if not idle:
            return []
        self._searched = now
        found = await messages(self._broker, sorted({piece.queue for piece in idle}))
        return [piece for piece in idle if _is_lost(piece, found, now)]

    async def _send(self, piece: Piece) -> None:
        if piece.chunk is None:
            await asyncio.to_thread(self._queue.enqueue_decision, piece.job_id)
        else:
            await asyncio.to_thread(self._queue.enqueue_chunk, piece.job_id, piece.chunk, piece.fingerprint)


def _pieces_of(job_id: str, fields: Mapping[str, str], pending: list[int]) -> Iterator[Piece]:
    fingerprint, created = fields["fingerprint"], float(fields["created"])
    for number in pending:
        yield Piece(job_id, fingerprint, number, fields.get(f"owner:{keys.gradients_work(number)}"), created)
    if not pending:
        since = float(fields.get("gradients_done", created))
        yield Piece(job_id, fingerprint, None, fields.get(f"owner:{keys.DECIDE_WORK}"), since)


def _is_lost(piece: Piece, found: Messages, now: float) -> bool:
    if piece.task in found.waiting:
        return False
    handed_out = found.delivered.get(piece.task)
    return piece.owner is not None or handed_out is None or now - handed_out > HANDED_OUT_S


def _name(piece: Piece) -> str:
    return "its decision" if piece.chunk is None else f"chunk {piece.chunk}"
