"""Jobs in Redis, as the service sees them: created, read, cancelled.

The fields of a job's hash: status, created, started, gradients_done (times of the Redis server); direction (qualified
by its team, which is the job's too), update, selection, retain, repeats, half_life, aggregator, heard,
fingerprint, checkpoint, samples, chunks (what was asked; half_life, aggregator and heard, the languages that are, only
where they were); request and trace (the id
of the request, and its place in a trace); idempotency (the key in Redis of what its Idempotency-Key made, which expires
with the job); enqueued (set once its tasks are in the queue); ended (as the times above); result and, of what it says,
kept, dropped and timing, or error, error_status, missing (chunks that were not done) and starts (the most of any
piece); again (it was given up, and can be tried again), retried and retry_of (the job that it was tried again as, and
that it tries again);
attempts:* (how often each piece of work was started, but for beside a slow worker) and by:* (by which worker last);
refused (since when Redis or the gradient store has not taken what is its); bytes and awaited (of its texts, and of what
Redis will have of its gradients); keeps and retained (bytes of the gradients that it retains, wherever they are, and
the key where those are counted); turn (its place among the jobs that wait: see `scripts/lua/functions/turns.lua`).

Retain is 1 where the gradients are kept for another scoring, and `dropped` once that is over; standing (JSON) is what
such a job's samples were in their direction when they were folded in. A job that scores those of another again has
that one's id as source and its chunks as source_chunks, and its standing where the direction is the same; chunks of its
own are 0.
"""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TypeVar, cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys, scripts
from congrad_service.access import teams
from congrad_service.http.errors import Conflict, NoLongerKept, NotFound
from congrad_service.http.idempotency import Claim
from congrad_service.jobs import chunks
from congrad_service.jobs.acceptance import Acceptance, Accepted
from congrad_service.jobs.given_up import INHERITED, GivenUp, given_up
from congrad_service.jobs.job_summaries import is_retained, missing_chunks, summaries
from congrad_service.jobs.room import REFERENCE, Gradients, gradient_bytes, retained_bits
from congrad_service.scripts import ending
from congrad_service.settings import IN_REDIS, ServiceSettings

BATCH = 100
"""Jobs of a list that are read in one turn, at least."""

MAX_CHUNK_BYTES = 64 * 2**20
"""Of the gradients of one chunk. Redis holds no value over 512 MiB, and stands still while it takes a large one."""

M = TypeVar("M", wire.FilterResult, wire.Problem)


class Jobs:
    """The jobs of one team, or those of nobody, in one Redis."""

    def __init__(self, redis: Redis, settings: ServiceSettings, team: str | None = None):
        self._redis = redis
        self._settings = settings
        self._team = team
        self._acceptance = Acceptance(redis, settings, team)
        self._end = redis.register_script(scripts.END)
        self._mark = redis.register_script(scripts.MARK_ENQUEUED)
        self._release = redis.register_script(scripts.RELEASE)

    def of(self, team: str | None) -> "Jobs":
        """Those of another team."""
        return Jobs(self._redis, self._settings, team)

    async def create(self, request: wire.FilterRequest, checkpoint: wire.Checkpoint, claim: Claim | None) -> Accepted:
        """Writes a job and its chunks, or finds the one that this claim made before.

        :raises Unprocessable: the key was used with another body.
        :raises Conflict: the key's job has succeeded, and its answer has expired.
        :raises QueueFull: there are ``max_queue`` unfinished jobs, or they have ``max_queue_bytes``.
        :raises Unavailable: Redis has no room for its gradients now.
        :raises ContentTooLarge: it never will have.
        :raises Conflict: the team's jobs retain as much as they may.
        """
        size = gradient_bytes(checkpoint.projection.dim)
        runs = chunks.split(request.samples, self._settings.chunk_tokens, max(1, MAX_CHUNK_BYTES // size))
        fields: dict[str, str | int] = {
            "direction": teams.qualified(self._team, request.direction),
            "update": int(request.update),
            "selection": request.selection.model_dump_json(),
            "retain": int(request.retain),
            "repeats": request.repeats,
            "fingerprint": checkpoint.fingerprint,
            "checkpoint": checkpoint.name,
            "samples": len(request.samples),
        }
        asked = {"half_life": request.half_life, "aggregator": request.aggregator}
        fields |= {name: str(value) for name, value in asked.items() if value is not None}
        is_elsewhere = request.retain and self._settings.gradient_store != IN_REDIS
        kept = gradient_bytes(checkpoint.projection.dim, retained_bits(self._settings))
        expected = Gradients(
            awaited=REFERENCE * len(runs) if is_elsewhere else size * len(request.samples),
            retained=kept * len(request.samples) if request.retain else 0,
        )
        return await self._acceptance.accept(fields, [chunks.dump(run) for run in runs], claim, expected)

    async def create_rescoring(self, job_id: str, request: wire.RescoreRequest, claim: Claim | None) -> Accepted:
        """Writes a job that scores the samples of another one again, or finds the one that this claim made before.

        :raises NotFound: no such job.
        :raises Conflict: its gradients are not there to be scored, or were folded into the direction that it names.
        :raises Unprocessable: the key was used with another body.
        :raises Conflict: the key's job has succeeded, and its answer has expired.
        :raises QueueFull: there are ``max_queue`` unfinished jobs.
        """
        source = await self._retained(job_id)
        direction = request.direction and teams.qualified(self._team, request.direction)
        if request.update and direction == source["direction"]:
            raise Conflict(f"job {job_id} has been folded into direction {request.direction!r} already; name another")
        fields: dict[str, str | int] = {
            "source": job_id,
            "source_chunks": source["chunks"],
            "update": int(request.update),
            "selection": request.selection.model_dump_json(),
            "retain": int(request.retain),
            **{name: source[name] for name in INHERITED if name in source},
        }
        if direction not in (None, source["direction"]):
            fields["direction"] = direction
            # What its samples are in another direction is told by what that one remembers of them.
            fields.pop("standing", None)
            fields["repeats"] = source["repeats"] if request.update else "once"
        asked = {"half_life": request.half_life, "aggregator": request.aggregator}
        fields |= {name: str(value) for name, value in asked.items() if value is not None}
        if request.languages is not None:
            fields["heard"] = ",".join(request.languages)
        return await self._acceptance.accept(fields, [], claim, Gradients(awaited=0, retained=0))

    async def given_up(self, job_id: str) -> GivenUp:
        """A job to be tried again.

        :raises NotFound: no such job.
        :raises Conflict: it has not failed, or would fail again.
        """
        fields, _ = await self._read(job_id)
        return await given_up(self._redis, job_id, fields)

    async def create_retry(self, failed: GivenUp) -> Accepted:
        """Writes a job that asks what a failed one asked.

        :raises NotFound: the samples are no longer kept.
        :raises Conflict: it was tried again already, and that failed too; or gradients that it scores again are gone.
        :raises QueueFull, Unavailable, ContentTooLarge, Conflict: as `create`.
        """
        asked = failed.asked
        if failed.is_rescoring:
            await self._retained(str(asked["source"]))
            return await self._acceptance.accept(asked, [], failed.claim, Gradients(awaited=0, retained=0))
        return await self._acceptance.accept(asked, await failed.texts(self._redis), failed.claim, failed.expected)

    async def _retained(self, job_id: str) -> dict[str, str]:
        """The fields of a job that can be scored again."""
        fields, _ = await self._read(job_id)
        if "source" in fields:
            raise Conflict(f"job {job_id} has scored job {fields['source']} again; rescore that one")
        if (status := fields["status"]) != wire.JobStatus.SUCCEEDED:
            raise Conflict(f"job {job_id} cannot be scored again: it has not succeeded, its status is {status}")
        if fields.get("retain", "0") == "0":
            raise Conflict(f"job {job_id} was not retained: POST /filter keeps gradients where 'retain' is true")
        gradients = keys.all_gradients(job_id, int(fields["chunks"]))
        if fields["retain"] == "dropped" or await self._redis.exists(*gradients) < len(gradients):
            raise NoLongerKept(f"the gradients of job {job_id} are no longer kept")
        return fields

    async def known(self, claim: Claim | None) -> Accepted | None:
        """As `Acceptance.known`."""
        return await self._acceptance.known(claim)

    async def created_or_known(self, claim: Claim | None, creation: Awaitable[Accepted]) -> Accepted:
        """What is created; or, where that cannot be, what this claim has made since it was last looked for. The same
        request, sent beside this one, may have been answered by now, and what both are about dropped with that.

        :raises ServiceError: as ``creation``, where the claim has made nothing.
        """
        try:
            return await creation
        except (Conflict, NotFound):
            if (known := await self.known(claim)) is not None:
                return known
            raise

    async def mark_enqueued(self, job_id: str) -> None:
        """Notes that the job's tasks are in the queue, so that a repeated request does not send them again."""
        await self._mark(keys=[keys.job(job_id)])

    async def fail(self, accepted: Accepted, problem: wire.Problem) -> None:
        """Ends a job that cannot be worked on."""
        end = ending.end(accepted.job_id, accepted.chunks, wire.JobStatus.FAILED, problem, self._settings)
        await self._end(**end)

    async def get(self, job_id: str) -> wire.Job:
        """The job's state.

        :raises NotFound: no such job, or its answer has expired.
        """
        fields, missing = await self._read(job_id)
        total = int(fields["chunks"])
        missing = missing_chunks(fields, missing)
        return wire.Job(
            id=job_id,
            status=wire.JobStatus(fields["status"]),
            direction=teams.plain(fields["direction"]),
            samples=int(fields["samples"]),
            created=datetime.fromtimestamp(float(fields["created"]), UTC),
            progress=wire.Progress(done=total - missing, total=total),
            result=_parse(wire.FilterResult, fields.get("result")),
            error=_parse(wire.Problem, fields.get("error")),
            retained=is_retained(fields),
        )

    async def samples(self, job_id: str) -> bytes:
        """The samples of a job, as a JSON list.

        :raises NotFound: no such job, or their texts are not kept.
        """
        if not self._settings.keep_texts:
            raise NotFound("texts of samples are not kept here: CONGRAD_KEEP_TEXTS is not set")
        fields, _ = await self._read(job_id)
        count = int(fields.get("source_chunks", fields["chunks"]))
        texts = await self._redis.mget(keys.chunks(fields.get("source", job_id), count))
        if None in texts:
            raise NotFound(f"the texts of job {job_id} are no longer kept")
        return b"[" + b",".join(text[1:-1] for text in cast("list[bytes]", texts)) + b"]"

    async def recent(self, limit: int, status: wire.JobStatus | None = None) -> list[wire.JobSummary]:
        """The latest jobs that are still there, the newest of them first. Those that failed have a list of their own,
        which others do not push them out of.

        :param status: of these only.
        """
        is_failed = status is wire.JobStatus.FAILED
        listed = keys.failed_jobs(self._team) if is_failed else keys.recent_jobs(self._team)
        ids = await self._redis.zrange(listed, 0, -1, desc=True)
        found: list[wire.JobSummary] = []
        while ids and len(found) < limit:  # some may have expired
            some = [job_id.decode() for job_id in cast("list[bytes]", ids[: max(limit, BATCH)])]
            of_these = [one.summary for one in await summaries(self._redis, some)]
            found += [job for job in of_these if status in (None, job.status)]
            ids = ids[len(some) :]
        return found[:limit]

    async def cancel(self, job_id: str) -> wire.Job:
        """Cancels an unfinished job; it will not be folded in. One that has succeeded and retains its gradients drops
        them.

        :raises NotFound: no such job.
        :raises Conflict: the job has succeeded or failed, and has no gradients to drop.
        """
        job = await self.get(job_id)
        gradients = keys.all_gradients(job_id, job.progress.total)
        if await self._release(keys=[keys.job(job_id), *gradients], args=[job_id]):
            return await self.get(job_id)
        end = ending.end(job_id, job.progress.total, wire.JobStatus.CANCELLED, None, self._settings)
        status, _ = await self._end(**end)
        now = await self.get(job_id)  # where there was none to end, it has expired just now
        if status.decode() != wire.JobStatus.CANCELLED:
            raise Conflict(f"job {job_id} can no longer be cancelled: it has {now.status}")
        return now

    async def _read(self, job_id: str) -> tuple[dict[str, str], int]:
        # No transaction: a full Redis takes none. In this order, what is missing is never told to be done.
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.scard(keys.pending(job_id))
            pipe.hgetall(keys.job(job_id))
            missing, raw = await pipe.execute()
        fields = {k.decode(): v.decode() for k, v in cast("dict[bytes, bytes]", raw).items()}
        if not fields or teams.team_of(fields["direction"]) != self._team:
            raise NotFound(f"there is no job {job_id!r}; answers are kept for {self._settings.result_ttl} s")
        return fields, missing


def _parse(model: type[M], text: str | None) -> M | None:
    return model.model_validate_json(text) if text else None
