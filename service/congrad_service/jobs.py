"""Jobs in Redis, as the service sees them: created, read, cancelled.

The fields of a job's hash: status, created, started, gradients_done (times of the Redis server); direction, update,
selection, fingerprint, checkpoint, samples, chunks (what was asked); enqueued (set once its tasks are in the queue);
result, or error and missing (chunks that were not done); attempts:* (how often each piece of work was started).
"""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, cast

from congrad import wire
from redis.asyncio import Redis

from congrad_service import chunks, keys, scripts
from congrad_service.errors import Conflict, NotFound, QueueFull, Unprocessable
from congrad_service.settings import ServiceSettings

KEY_REUSED = "this Idempotency-Key was used before with another body"

M = TypeVar("M", wire.FilterResult, wire.Problem)


@dataclass(frozen=True)
class Accepted:
    """A job that Redis holds: new, or the earlier one of the same Idempotency-Key."""

    job_id: str
    chunks: int
    fingerprint: str
    enqueued: bool


class Jobs:
    """The jobs in one Redis."""

    def __init__(self, redis: Redis, settings: ServiceSettings):
        self._redis = redis
        self._settings = settings
        self._create = redis.register_script(scripts.CREATE)
        self._end = redis.register_script(scripts.END)
        self._mark = redis.register_script(scripts.MARK_ENQUEUED)

    async def create(
        self, request: wire.FilterRequest, checkpoint: wire.Checkpoint, idempotency_key: str | None
    ) -> Accepted:
        """Writes a job and its chunks, or finds the one that this key made before.

        :raises Unprocessable: the key was used with another body.
        :raises QueueFull: there are ``max_queue`` unfinished jobs.
        """
        job_id = uuid.uuid4().hex
        runs = chunks.split(request.samples, self._settings.chunk_tokens)
        outcome, found = await self._create(
            keys=[
                keys.job(job_id),
                keys.pending(job_id),
                keys.JOBS_ACTIVE,
                keys.idempotency(_digest(idempotency_key or job_id)),
                *(keys.chunk(job_id, number) for number in range(len(runs))),
            ],
            args=[
                job_id,
                "1" if idempotency_key else "0",
                _digest(request.model_dump_json()),
                self._settings.max_queue,
                self._settings.job_ttl,
                request.direction,
                "1" if request.update else "0",
                request.selection.model_dump_json(),
                checkpoint.fingerprint,
                checkpoint.name,
                len(request.samples),
                *(_chunk_json(run) for run in runs),
            ],
        )
        match outcome.decode():
            case "mismatch":
                raise Unprocessable(KEY_REUSED)
            case "full":
                raise QueueFull(
                    f"{self._settings.max_queue} jobs are waiting or running; try again later", retry_after=5
                )
            case "existing":
                return await self._existing(found.decode())
        return Accepted(job_id, len(runs), checkpoint.fingerprint, enqueued=False)

    async def known(self, request: wire.FilterRequest, idempotency_key: str | None) -> Accepted | None:
        """The job that this key made before, whatever has become of workers and directions since; None if there is
        none, or it failed for no fault of the request's and may be tried again.

        :raises Unprocessable: the key was used with another body.
        """
        if idempotency_key is None:
            return None
        job_id, digest = await self._fields(keys.idempotency(_digest(idempotency_key)), "job", "digest")
        if job_id is None:
            return None
        if digest != _digest(request.model_dump_json()):
            raise Unprocessable(KEY_REUSED)
        status, error = await self._fields(keys.job(job_id), "status", "error_status")
        if status is None or (status == wire.JobStatus.FAILED and int(error or 0) >= 500):
            return None
        return await self._existing(job_id)

    async def _existing(self, job_id: str) -> Accepted:
        count, fingerprint, enqueued = await self._fields(keys.job(job_id), "chunks", "fingerprint", "enqueued")
        return Accepted(job_id, int(count or 0), fingerprint or "", enqueued is not None)

    async def _fields(self, key: str, *names: str) -> list[str | None]:
        values = cast("list[bytes | None]", await self._redis.hmget(key, list(names)))
        return [None if value is None else value.decode() for value in values]

    async def mark_enqueued(self, job_id: str) -> None:
        """Notes that the job's tasks are in the queue, so that a repeated request does not send them again."""
        await self._mark(keys=[keys.job(job_id)])

    async def fail(self, accepted: Accepted, problem: wire.Problem) -> None:
        """Ends a job that cannot be worked on."""
        await self._end(
            keys=[keys.job(accepted.job_id), keys.JOBS_ACTIVE, *keys.payloads(accepted.job_id, accepted.chunks)],
            args=[
                accepted.job_id,
                wire.JobStatus.FAILED,
                problem.model_dump_json(),
                problem.status,
                self._settings.result_ttl,
            ],
        )

    async def get(self, job_id: str) -> wire.Job:
        """The job's state.

        :raises NotFound: no such job, or its answer has expired.
        """
        fields, missing = await self._read(job_id)
        total = int(fields["chunks"])
        missing = int(fields.get("missing", missing))  # the set itself is gone once a job has ended
        return wire.Job(
            id=job_id,
            status=wire.JobStatus(fields["status"]),
            direction=fields["direction"],
            samples=int(fields["samples"]),
            created=datetime.fromtimestamp(float(fields["created"]), UTC),
            progress=wire.Progress(done=total - missing, total=total),
            result=_parse(wire.FilterResult, fields.get("result")),
            error=_parse(wire.Problem, fields.get("error")),
        )

    async def cancel(self, job_id: str) -> wire.Job:
        """Cancels an unfinished job; it will not be folded in.

        :raises NotFound: no such job.
        :raises Conflict: the job has succeeded or failed.
        """
        job = await self.get(job_id)
        status = await self._end(
            keys=[keys.job(job_id), keys.JOBS_ACTIVE, *keys.payloads(job_id, job.progress.total)],
            args=[job_id, wire.JobStatus.CANCELLED, "", 0, self._settings.result_ttl],
        )
        if (now := status.decode()) != wire.JobStatus.CANCELLED:
            raise Conflict(f"job {job_id} can no longer be cancelled: it has {now}")
        return await self.get(job_id)

    async def _read(self, job_id: str) -> tuple[dict[str, str], int]:
        async with self._redis.pipeline() as pipe:
            pipe.hgetall(keys.job(job_id))
            pipe.scard(keys.pending(job_id))
            raw, missing = await pipe.execute()
        if not raw:
            raise NotFound(f"there is no job {job_id!r}; answers are kept for {self._settings.result_ttl} s")
        return {k.decode(): v.decode() for k, v in cast("dict[bytes, bytes]", raw).items()}, missing


def _parse(model: type[M], text: str | None) -> M | None:
    return model.model_validate_json(text) if text else None


def _chunk_json(run: list[wire.Sample]) -> str:
    return json.dumps([sample.model_dump(exclude_none=True) for sample in run], ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
