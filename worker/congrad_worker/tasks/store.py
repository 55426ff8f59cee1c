"""The workers' side of Redis: chunks in, gradients out, directions committed."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from congrad.contract import wire
from congrad_service import keys, scripts
from congrad_service.queue.registry import Role
from congrad_service.scripts import ending
from congrad_service.settings import IN_REDIS, RedisSettings
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from congrad_worker.decisions.memory import Memory, Pairs, wanted
from congrad_worker.errors import ShardStoreError
from congrad_worker.shards import ShardStore
from congrad_worker.tasks import freed, metrics
from congrad_worker.tasks.leases import Leases
from congrad_worker.tasks.records import (
    ChunkResult,
    JobRecord,
    Measured,
    Origin,
    Standing,
    StartedChunk,
    StartedDecision,
)
from congrad_worker.tasks.shelf import Shelf, is_reference
from congrad_worker.tasks.states import DirectionRecord, Mark, Step

MOST_BYTES = 2**20
"""Of gradients that a script takes or gives, as it has them in its own memory too. Larger ones go by themselves."""

log = logging.getLogger(__name__)


class Store:
    """Jobs and directions in one Redis, for one worker.

    ``worker_id`` is no other worker's, nor that of an earlier one in the same container.
    """

    def __init__(self, settings: RedisSettings):
        self.worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.redis = Redis.from_url(
            settings.redis_url,
            socket_timeout=30,
            socket_connect_timeout=5,
            health_check_interval=25,
            retry=Retry(ExponentialBackoff(cap=2.0, base=0.1), retries=6),
        )
        self.leases = Leases(self.redis, self.worker_id, settings.visibility_timeout)
        self._settings = settings
        store = settings.gradient_store
        self.shelf = None if store == IN_REDIS else Shelf(ShardStore(store), settings.gradient_bits)
        self._stored = self.redis.register_script(scripts.STORE)
        self._start_chunk = self.redis.register_script(scripts.START_CHUNK)
        self._start_decision = self.redis.register_script(scripts.START_DECISION)
        self._complete = self.redis.register_script(scripts.COMPLETE)
        self._mark_asked = self.redis.register_script(scripts.MARK_ASKED)
        self._recall = self.redis.register_script(scripts.RECALL)
        self._commit = self.redis.register_script(scripts.COMMIT)
        self._end = self.redis.register_script(scripts.END)
        self._turn = self.redis.register_script(scripts.TURN)
        self._uncount = self.redis.register_script(scripts.UNCOUNT)

    def is_told(self, queue: str, seconds: float) -> bool:
        """Waits for work in a queue that was empty; whether there was some within that time."""
        return self.redis.blpop([keys.waking(queue)], timeout=seconds) is not None

    def has_waiting(self, queue: str) -> bool:
        """Whether a piece of work waits in a queue for its turn."""
        return bool(self.redis.exists(keys.turns(queue)[0]))

    def turn(self, queue: str, alone: bool = False) -> tuple[str, int | None] | None:
        """Takes the piece of work in a queue whose turn it is: a job, and of one whose gradients are missing the number
        of a chunk. None where nothing waits.

        :param alone: only of a job that no other waits beside.
        """
        found = self._turns(queue, 0, alone)
        if not found:
            return None
        job_id, number = found
        return job_id, int(number) if number else None

    def chunk_turns(self, queue: str, most_bytes: int, alone: bool = False) -> list[tuple[str, int]]:
        """Takes the chunk in a queue whose turn it is, and those whose turn it is then, as long as all of them have no
        more than ``most_bytes``: jobs, and numbers of their chunks. None of them waits for more to come.

        :param alone: only of a job that no other waits beside.
        """
        found = self._turns(queue, most_bytes, alone)
        return [(job_id, int(number)) for job_id, number in zip(found[::2], found[1::2], strict=True)]

    def _turns(self, queue: str, most_bytes: int, alone: bool) -> list[str]:
        self.leases.queue = queue
        holds_chunks = int(queue != keys.DECIDE_QUEUE)
        found = cast("list[bytes]", self._turn(keys=keys.turns(queue), args=[holds_chunks, most_bytes, int(alone)]))
        return [part.decode() for part in found]

    def start(self, job_id: str, number: int) -> StartedChunk:
        """Marks the job as running, and this worker as being at a chunk of it until that is complete, or the worker
        rests. Nothing where its gradients are there, the job has ended, or another worker is at it."""
        work = keys.gradients_work(number)
        more = [keys.gradients(job_id, number), keys.chunk(job_id, number)]
        found = self.leases.begin(self._start_chunk, job_id, work, Role.GRADIENTS, more, MOST_BYTES)
        attempts, is_there, request, trace, text = cast("tuple[int, int, bytes, bytes, bytes | None]", found)
        return StartedChunk(attempts, bool(is_there), Origin.of(request, trace), text)

    def start_decision(self, job_id: str) -> StartedDecision:
        """The same for its decision, which the worker is at until it is committed; as it is at writing the direction,
        if the job does and no other worker is: see `Leases.may_write`."""
        more = [keys.gradients(job_id, 0)]
        attempts, time_there, standing, flat, gradients, writes = cast(
            "tuple[int, bytes, list[bytes | None], list[bytes], bytes | None, int]",
            self.leases.begin(self._start_decision, job_id, keys.DECIDE_WORK, Role.DECIDE, more, MOST_BYTES),
        )
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if writes:
            self.leases.begun_writing(fields[b"direction"].decode())
        clock = float(time_there) - time.monotonic()
        return StartedDecision(job_id, attempts, fields, Mark.of(standing), clock, gradients)

    def uncount(self, job_id: str, work: str) -> None:
        """A piece of work was started for nothing but to give it up: that was no try."""
        with suppress(RedisError):
            self._uncount(keys=[keys.job(job_id)], args=[work])

    def put_gradients(self, job_id: str, number: int, result: ChunkResult) -> int:
        """Leaves a chunk's gradients for `decide`, and completes it: in Redis, or, where they are retained and there is
        a gradient store, there, and in Redis their name. Nothing where the job has ended.

        :returns: as `complete`.
        :raises ShardStoreError: the gradient store does not take them now.
        """
        wanted = 0 if self.shelf is None else self._stored(**self._storing(job_id))
        if wanted < 0:
            return -1
        kept = result.dump() if self.shelf is None or not wanted else self.shelf.put(job_id, number, result)
        if len(kept) > MOST_BYTES:
            self.redis.set(keys.gradients(job_id, number), kept, ex=self._settings.job_ttl)
            kept = b""
        missing = self.complete(job_id, number, kept)
        if missing < 0 and is_reference(kept):  # the job has ended since, and its folder may have been looked at
            self.redis.zadd(keys.STORED, {job_id: self.now()}, nx=True)
        return missing

    def _storing(self, job_id: str) -> dict[str, Any]:
        return {"keys": [keys.job(job_id), keys.STORED], "args": [job_id, self._settings.job_ttl]}

    def complete(self, job_id: str, number: int, gradients: bytes = b"") -> int:
        """Takes a chunk out of the pending set, and rests from it.

        :param gradients: what is left for `decide`; empty where they are there. If they are not, the chunk is missing
            as before.
        :returns: how many chunks are missing, -1 if the job has ended meanwhile.
        """
        work = keys.gradients_work(number)
        of_job = [keys.job(job_id), keys.pending(job_id), *keys.turns(keys.DECIDE_QUEUE)]
        with self.leases.unsaid():
            missing = self._complete(
                keys=[*of_job, keys.gradients(job_id, number), keys.doing(job_id, work)],
                args=[job_id, number, self.worker_id, gradients, self._settings.job_ttl],
            )
            self.leases.ended(job_id, work)
        return cast("int", missing)

    def note_asked(self, job_id: str) -> None:
        """Notes that there is a message for the decision of a job: whoever comes later need not send another one."""
        with suppress(RedisError):  # one too many changes nothing
            self._mark_asked(keys=[keys.job(job_id)])

    def is_asked(self, job_id: str) -> bool:
        """Whether there was a message for the decision of a job."""
        return bool(self.redis.hexists(keys.job(job_id), "asked"))

    def gradients(self, job: JobRecord, known: bytes | None = None) -> list[ChunkResult] | None:
        """What the tasks left, in the order of the chunks; None once they are no longer kept.

        :param known: what the task of its only chunk left, where that has been read.
        :raises ShardStoreError: the gradient store does not give them now.
        """
        found = [known] if known is not None else cast("list[bytes | None]", self.redis.mget(job.gradients))
        results = []
        for kept in found:
            result = None if kept is None else self._chunk_result(kept)
            if result is None:
                return None
            results.append(result)
        return results

    def _chunk_result(self, kept: bytes) -> ChunkResult | None:
        if not is_reference(kept):
            return ChunkResult.parse(kept)
        if self.shelf is None:
            raise ShardStoreError(
                "the gradients are in a gradient store: CONGRAD_GRADIENT_STORE says where, and is unset"
            )
        return self.shelf.get(kept)

    def measured(self, job_id: str, read: DirectionRecord) -> Measured | None:
        """What is known of the samples of a job in the gradient store against a version of a direction.

        :raises ShardStoreError: the gradient store does not give it now.
        """
        return None if self.shelf is None else self.shelf.measured(job_id, read.mark.name)

    def put_measured(self, job_id: str, read: DirectionRecord, measured: Measured) -> None:
        """Keeps that, where the job's gradients are in the gradient store: it goes with them.

        :raises ShardStoreError: the gradient store does not take it now.
        """
        if self.shelf is not None and self.redis.zscore(keys.STORED, job_id) is not None:
            self.shelf.put_measured(job_id, read.mark.name, measured)

    def free_stored(self) -> None:
        """Takes files of the gradient store away that no job needs any more: see `freed.py`."""
        if self.shelf is not None:
            freed.free(self.redis, self.shelf, self._settings.visibility_timeout)

    def is_wanted(self, job_id: str, number: int, fingerprint: str) -> bool:
        """Whether a job that asks for a checkpoint waits for a chunk, or, with all there, for somebody to ask for its
        decision."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.job(job_id), ["status", "fingerprint", "asked"])
            pipe.sismember(keys.pending(job_id), str(number))
            (status, own, asked), is_pending = pipe.execute()
        if status is None or wire.JobStatus(status.decode()).ended or own.decode() != fingerprint:
            return False
        return bool(is_pending) or asked is None

    def has_ended(self, job_id: str) -> bool:
        """Whether the job has ended, or is gone."""
        status = cast("bytes | None", self.redis.hget(keys.job(job_id), "status"))
        return status is None or wire.JobStatus(status.decode()).ended

    def has_waited(self, job_id: str, seconds: float) -> bool:
        """Whether it is longer than that since Redis first had no memory for the job, with no chunk done since."""
        since = cast("bytes | None", self.redis.hget(keys.job(job_id), "refused"))
        return since is not None and self.now() - float(since) > seconds

    def direction(self, name: str) -> DirectionRecord:
        """The direction with its vectors; version 0 without languages where there is none."""
        return DirectionRecord.of(cast("dict[bytes, bytes]", self.redis.hgetall(keys.direction(name))))

    def recall(self, name: str, read: DirectionRecord, pairs: Pairs, languages: Sequence[str]) -> Memory | None:
        """What a direction remembers of some samples' pairs, and where more of them would be remembered; None where it
        has changed since it was read."""
        numbers = wanted(read.tables, pairs, languages)
        if not numbers:
            return Memory(read.tables)
        asked = [part for tag, own in numbers.items() for part in (tag, " ".join(map(str, own)))]
        keys_of = [keys.direction(name), keys.pairs(name)]
        found = cast("list[bytes] | None", self._recall(keys=keys_of, args=[read.epoch, read.mark.state, *asked]))
        return None if found is None else Memory(read.tables, numbers, dict(zip(numbers, found, strict=True)))

    def standing(self, name: str) -> Mark:
        """The mark of a direction; as `direction` has it where there is none."""
        return Mark.of(cast("list[bytes | None]", self.redis.hmget(keys.direction(name), ["epoch", "version", "by"])))

    def now(self) -> float:
        """Seconds, by Redis's clock."""
        seconds, micros = self.redis.time()
        return seconds + micros / 1e6

    def commit(
        self,
        job: JobRecord,
        result: wire.FilterResult,
        step: Step | None,
        read: DirectionRecord,
    ) -> str:
        """Ends the job with its answer and, at the same time, writes the direction, keeps or drops the gradients, and
        rests.

        The answer is kept for ``result_ttl``; with gradients of its own for ``job_ttl``, as these are; and that of a
        job that scores another's again at least as long as that one. Texts go at once, or with the answer.

        :param step: None where the job does not change the direction.
        :returns: ``committed``; ``ended`` if the job has its answer already; ``lost`` if the direction has changed
            since ``read``, and nothing was written.
        """
        retained = job.gradients if job.retain and job.source is None else []
        texts = job.texts if self._settings.keep_texts else []
        kept = [*retained, *texts]
        writing = [keys.writer(job.direction)] if self.leases.writes(job.direction) else []
        worked = [keys.doing(job.id, keys.DECIDE_WORK), *writing, *keys.work(job.id, job.chunks)]
        dropped = {*worked, *([] if job.retain else job.gradients)} - {*texts}
        standing = ""
        if retained and step is not None:
            standing = Standing(step.fields["epoch"], dict(step.stakes), list(step.repeated)).dump()
        of_direction = [keys.history(job.direction), keys.conflicts(job.direction), keys.pairs(job.direction)]
        with self.leases.unsaid():
            outcome = self._commit(
                keys=[
                    keys.job(job.id),
                    keys.JOBS_ACTIVE,
                    keys.direction(job.direction),
                    keys.DIRECTIONS,
                    *of_direction,
                    keys.NONE if job.source is None else keys.job(job.source),
                    *kept,
                    *dropped,
                ],
                args=[
                    job.id,
                    result.model_dump_json(),
                    result.summary.kept,
                    result.summary.dropped,
                    result.timing.model_dump_json(),
                    self._settings.job_ttl if retained else self._settings.result_ttl,
                    standing,
                    len(kept),
                    job.direction,
                    int(step is not None),
                    read.epoch,
                    read.mark.state,
                    *(step.arguments if step is not None else ["", "{}", 0]),
                ],
            )
            if outcome == b"committed":
                self.leases.ended(job.id, keys.DECIDE_WORK)
        return cast("bytes", outcome).decode()

    def fail(self, job_id: str, problem: wire.Problem) -> None:
        """Ends the job without an answer, unless it has ended."""
        chunks = int(cast("bytes | None", self.redis.hget(keys.job(job_id), "chunks")) or 0)
        end = ending.end(job_id, chunks, wire.JobStatus.FAILED, problem, self._settings)
        _, has_ended = cast("tuple[bytes, int]", self._end(**end))
        if has_ended:
            metrics.JOBS.labels(str(problem.status)).inc()
