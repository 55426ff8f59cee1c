"""Pieces of work that nobody is at any more wait for their turn again, and messages that were lost are sent again.

A piece of an unfinished job, a chunk without gradients or a decision that is due, waits for its turn (see `turns.lua`),
or a live worker says that it is at it. One of which neither is true was taken by a worker that has died since: the
message that it held comes back only after the visibility timeout, which is longer than any task takes. And for each
piece that waits there is a message, which has no name on it. One that a worker had taken and not yet noted is gone for
good where the worker was killed in that moment: kombu takes it and notes it in two steps. Where there are fewer
messages than pieces, some are sent. One too many changes nothing: whoever gets it finds nothing to do.

The messages are counted before the pieces are looked at. What is taken in between is then missing among the pieces, and
not among the messages. Between its turn and its start a piece is nowhere: it is missed where it is at a second look.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from amqp import AMQPError  # type: ignore[import-untyped] # no stubs, as kombu
from congrad.contract import wire
from kombu.exceptions import OperationalError
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from congrad_service import keys, scripts
from congrad_service.background import pause
from congrad_service.observability.metrics import Metrics
from congrad_service.queue.broker import Messages, messages
from congrad_service.queue.queue import Queue
from congrad_service.queue.registry import SILENT_S

SWEEP_S = 1.0
GRACE_S = 3.0
"""How old a piece of work is before it is missed: it takes a moment to get into the queue."""
SECOND_LOOK_S = 0.9 * SWEEP_S
"""How long something has to be missing."""
HANDED_OUT_S = 10.0
"""How long a worker may hold a message before it takes a piece; one that still loads its checkpoint holds one for
longer, and one that was killed for ever."""
LOCK_S = 20
"""After this another process sweeps, if the one that does has died in the middle."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """Work that an unfinished job waits for: a chunk's gradients, or with no chunk the decision.

    ``since`` is when a worker could have begun with it (seconds, by Redis's clock).
    """

    job_id: str
    fingerprint: str
    chunk: int | None
    since: float

    @property
    def name(self) -> str:
        """In the log."""
        return "its decision" if self.chunk is None else f"chunk {self.chunk}"

    @property
    def doing(self) -> str:
        """There while a worker is at it."""
        return keys.doing(self.job_id, keys.DECIDE_WORK if self.chunk is None else keys.gradients_work(self.chunk))

    @property
    def queue(self) -> str:
        """Where it waits for its turn."""
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
        self._offer = redis.register_script(scripts.OFFER)
        self._alone = redis.register_script(scripts.ALONE)
        self._missed: dict[Piece | str, float] = {}  # pieces, and queues with too few messages: since when
        self._handed_out: dict[str, float] = {}  # messages by delivery tag: when they were first seen with a worker

    async def run(self, stopped: asyncio.Event) -> None:
        """Sweeps until it is stopped."""
        while not stopped.is_set():
            seconds = SWEEP_S
            try:
                if await self._alone(keys=[keys.RECOVERY], args=[LOCK_S]):
                    await self._sweep_alone()
            except (OSError, OperationalError, AMQPError, OutOfMemoryError) as error:  # workers are heard all the same
                log.warning("messages could not be counted or sent: %s: %s", type(error).__name__, error)
            except Exception as error:  # the next sweep is another try, and must come
                log.warning("could not look for lost work: %s: %s", type(error).__name__, error)
                seconds = SILENT_S  # where Redis was away, workers were silent through no fault of theirs
            await pause(stopped, seconds)

    async def _sweep_alone(self) -> None:
        """Leaves the others to wait for no longer than until the next one, whatever becomes of this one."""
        begun = time.monotonic()
        try:
            await self.sweep()
        finally:
            if time.monotonic() < begun + LOCK_S:  # it is still this process's
                await self._redis.pexpire(keys.RECOVERY, int(900 * SWEEP_S))

    async def sweep(self) -> list[Piece]:
        """Has what was lost wait again, and sends messages that are missing; the pieces that these were sent for."""
        # Redis's clock may jump back: what seems to come from the future is older than that.
        clock = await self._clock()
        known = [piece for piece in await self._pieces() if not clock - GRACE_S < piece.since <= clock]
        now = time.monotonic()
        if not known:
            self._missed.clear()
            return []
        queues = sorted({piece.queue for piece in known})
        found = await self._messages(queues)
        waiting, lost = await self._look(known)
        few = self._deficits(found, waiting, now)
        missing: list[Piece | str] = [*lost, *few]
        since = {one: self._missed.get(one, now) for one in missing}
        self._missed = {one: at for one, at in since.items() if now - at < SECOND_LOOK_S}
        lost = [piece for piece in lost if piece not in self._missed]
        for piece in lost:
            await self._restore(piece)
        for queue, count in few.items():
            if queue not in self._missed:
                log.warning("%d messages of queue %s were lost and are sent again", count, queue)
                lost += [piece for piece in waiting if piece.queue == queue][:count]
        for piece in lost:
            await self._send(piece)
        return lost

    async def _clock(self) -> float:
        seconds, micros = await self._redis.time()
        return float(seconds + micros / 1e6)

    async def _pieces(self) -> list[Piece]:
        """What unfinished jobs wait for."""
        ids = cast("list[bytes]", await self._redis.zrange(keys.JOBS_ACTIVE, 0, -1))
        async with self._redis.pipeline(transaction=False) as pipe:  # a full Redis takes none
            for job_id in ids:
                pipe.hmget(keys.job(job_id.decode()), ["status", "fingerprint", "created", "gradients_done"])
                pipe.smembers(keys.pending(job_id.decode()))
            found = await pipe.execute()
        return [
            piece
            for job_id, fields, pending in zip(ids, found[::2], found[1::2], strict=True)
            if fields[0] is not None and not wire.JobStatus(fields[0].decode()).ended
            for piece in _pieces_of(job_id.decode(), fields, sorted(int(number) for number in pending))
        ]

    async def _messages(self, queues: Sequence[str]) -> Messages:
        if self._broker is not None:
            return await messages(self._broker, queues)
        return Messages(await asyncio.to_thread(self._queue.lengths, queues))

    async def _look(self, pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
        """Those that wait for their turn, and those that are missing: no worker is at them, and they are not done."""
        jobs = sorted({piece.job_id for piece in pieces})
        queues = sorted({piece.queue for piece in pieces})
        # No transaction, as above. In this order, what is taken meanwhile is found in one place or in the other.
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in jobs:
                pipe.hmget(keys.job(job_id), ["status", "turn"])
                pipe.smembers(keys.pending(job_id))
                pipe.lrange(keys.ready_chunks(job_id), 0, -1)
            for queue in queues:
                pipe.zrange(keys.turns(queue)[0], 0, -1)
            pipe.mget([piece.doing for piece in pieces])
            *found, doing = await pipe.execute()
        states, turns = found[: 3 * len(jobs)], found[3 * len(jobs) :]
        at_turn = {queue: set(members) for queue, members in zip(queues, turns, strict=True)}
        # A job may have thousands of chunks, and each of them is looked for.
        at = {
            job_id: (states[3 * index], states[3 * index + 1], set(states[3 * index + 2]))
            for index, job_id in enumerate(jobs)
        }
        waiting, missing = [], []
        for piece, worker in zip(pieces, doing, strict=True):
            (status, turn), pending, ready = at[piece.job_id]
            if status is None or wire.JobStatus(status.decode()).ended:
                continue
            number = str(piece.chunk).encode()
            # Chunks of a job that has no turn would be done only where nothing else waits.
            if turn in at_turn[piece.queue] and (piece.chunk is None or number in ready):
                waiting.append(piece)
            elif worker is None and (not pending if piece.chunk is None else number in pending):
                missing.append(piece)
        return waiting, missing

    def _deficits(self, found: Messages, waiting: Sequence[Piece], now: float) -> dict[str, int]:
        """How many messages each queue lacks."""
        self._handed_out = {tag: self._handed_out.get(tag, now) for tag in found.handed_out}
        fresh = Counter(queue for tag, queue in found.handed_out.items() if now - self._handed_out[tag] < HANDED_OUT_S)
        needed = Counter(piece.queue for piece in waiting)
        if self._broker is None:  # which messages workers hold is not known: those of an empty queue may all be
            return {queue: count for queue, count in needed.items() if not found.waiting[queue]}
        lacks = {queue: count - found.waiting[queue] - fresh[queue] for queue, count in needed.items()}
        return {queue: count for queue, count in lacks.items() if count > 0}

    async def _restore(self, piece: Piece) -> None:
        log.warning("job %s: %s was lost and waits again", piece.job_id, piece.name)
        number = "" if piece.chunk is None else piece.chunk
        own = [keys.job(piece.job_id), keys.ready_chunks(piece.job_id)]
        await self._offer(keys=[*keys.turns(piece.queue), *own], args=[number])

    async def _send(self, piece: Piece) -> None:
        self._recovered.labels("decide" if piece.chunk is None else "gradients").inc()
        if piece.chunk is None:
            await asyncio.to_thread(self._queue.enqueue_decision, piece.job_id)
        else:
            await asyncio.to_thread(self._queue.enqueue_chunk, piece.job_id, piece.chunk, piece.fingerprint)


def _pieces_of(job_id: str, fields: Sequence[bytes | None], pending: Sequence[int]) -> Iterator[Piece]:
    _, fingerprint, created, done = (None if field is None else field.decode() for field in fields)
    assert fingerprint is not None
    assert created is not None
    for number in pending:
        yield Piece(job_id, fingerprint, number, float(created))
    if not pending:
        yield Piece(job_id, fingerprint, None, float(done or created))
