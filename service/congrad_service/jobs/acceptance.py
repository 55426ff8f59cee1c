"""How a job comes to be: once, however often its request is sent, and only where there is room for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from congrad_service import keys, scripts
from congrad_service.access import teams
from congrad_service.http import request_id
from congrad_service.http.errors import NoLongerKept, QueueFull, Unprocessable
from congrad_service.http.idempotency import Claim
from congrad_service.jobs.job_id import new_job_id
from congrad_service.jobs.room import REFUSED, Gradients
from congrad_service.observability import tracing
from congrad_service.settings import ServiceSettings

MAX_RETRY_AFTER_S = 60


@dataclass(frozen=True)
class Accepted:
    """A job that Redis holds: new, or the earlier one of the same Idempotency-Key."""

    job_id: str
    chunks: int
    fingerprint: str
    enqueued: bool
    is_new: bool


class Acceptance:
    """That of the jobs of one team, or of those of nobody, in one Redis."""

    def __init__(self, redis: Redis, settings: ServiceSettings, team: str | None):
        self._redis = redis
        self._settings = settings
        self._team = team
        self._known = redis.register_script(scripts.KNOWN)
        self._create = redis.register_script(scripts.CREATE)

    async def accept(
        self, fields: Mapping[str, str | int], texts: Sequence[str], claim: Claim | None, expected: Gradients
    ) -> Accepted:
        """Writes a job and its chunks, or finds the one that this claim made before.

        :param fields: of the job's hash: see `jobs.py`.
        :param texts: a chunk's samples each; none of a job that scores those of another again.
        :param expected: what of its gradients the job will have where.
        :raises Unprocessable: the key was used with another body.
        :raises Conflict: the key's job has succeeded, and its answer has expired; or the team's jobs retain as much as
            they may.
        :raises QueueFull: there are ``max_queue`` unfinished jobs, or they have ``max_queue_bytes``.
        :raises Unavailable: Redis has no room for its gradients now.
        :raises ContentTooLarge: it never will have.
        """
        job_id = new_job_id()
        fields = {**fields, "request": request_id.current(), "trace": tracing.carried()}
        outcome, found = await self._create(
            keys=[
                keys.job(job_id),
                keys.pending(job_id),
                keys.JOBS_ACTIVE,
                keys.recent_jobs(self._team),
                self._idempotency(claim) if claim else keys.idempotency(job_id),
                *keys.turns(keys.gradients_queue(str(fields["fingerprint"])) if texts else keys.DECIDE_QUEUE),
                keys.ready_chunks(job_id),
                keys.SEQUENCE,
                keys.retained(self._team),
                *(keys.chunk(job_id, number) for number in range(len(texts))),
            ],
            args=[
                job_id,
                int(claim is not None),
                claim.request if claim else "",
                self._settings.max_queue,
                self._settings.job_ttl,
                self._team or "",
                self._settings.max_queue_bytes,
                self._settings.max_retained_bytes,
                sum(len(text.encode()) for text in texts),
                expected.awaited,
                expected.retained,
                *(part for field in fields.items() for part in field),
                *texts,
            ],
        )
        if outcome == b"created":
            return Accepted(job_id, len(texts), str(fields["fingerprint"]), enqueued=False, is_new=True)
        return await self._accepted(outcome.decode(), found.decode())

    async def known(self, claim: Claim | None) -> Accepted | None:
        """The job that this claim made before, whatever has become of workers and directions since; None if there is
        none, or it failed for no fault of the request's and may be tried again.

        :raises Unprocessable: the key was used with another body.
        :raises Conflict: the key's job has succeeded, and its answer has expired.
        """
        if claim is None:
            return None
        outcome, found = await self._known(keys=[self._idempotency(claim)], args=[claim.request])
        return None if outcome == b"new" else await self._accepted(outcome.decode(), found.decode())

    async def _accepted(self, outcome: str, job_id: str) -> Accepted:
        if outcome == "mismatch":
            raise Unprocessable("this Idempotency-Key was used before with another body")
        if outcome == "gone":
            raise NoLongerKept(
                f"job {job_id} of this Idempotency-Key has succeeded, and its answer is no longer kept (answers are "
                f"for {self._settings.result_ttl} s); nothing was done again"
            )
        if outcome == "full":
            raise QueueFull(
                f"{self._settings.max_queue} jobs are waiting or running; try again later",
                retry_after=await self._seconds_per_job(),
            )
        if outcome in REFUSED:
            raise REFUSED[outcome](int(float(job_id)), self._settings)
        found = await self._redis.hmget(keys.job(job_id), ["chunks", "fingerprint", "enqueued"])
        count, fingerprint, enqueued = cast("list[bytes | None]", found)
        return Accepted(job_id, int(count or 0), (fingerprint or b"").decode(), enqueued is not None, is_new=False)

    async def _seconds_per_job(self) -> int:
        """About how long it takes until a job of a full queue ends. In the time that the oldest one has been there,
        about as many end as there are (Little's law), though a large one may be there for longer."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.zrange(keys.JOBS_ACTIVE, 0, 0, withscores=True)
            pipe.zcard(keys.JOBS_ACTIVE)
            (seconds, _), oldest, count = await pipe.execute()
        age: float = max((seconds - created for _, created in oldest), default=0.0)
        return math.ceil(min(max(float(age) / max(int(count), 1), 1.0), MAX_RETRY_AFTER_S))

    def _idempotency(self, claim: Claim) -> str:
        return keys.idempotency(teams.qualified(self._team, claim.key))
