"""A job that was given up, and what is needed to try it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.access import teams
from congrad_service.http.errors import Conflict, NotFound
from congrad_service.http.idempotency import Claim, retry_claim
from congrad_service.jobs.room import Gradients
from congrad_service.scripts.limits import FAULTY

INHERITED = ("direction", "repeats", "fingerprint", "checkpoint", "samples", "standing")
"""What a job that scores another's samples again has from that one; there is a standing only where it was folded in."""

ASKED = (*INHERITED, "update", "selection", "retain", "half_life", "aggregator", "heard", "source", "source_chunks")
"""What a job that tries another again has from that one, where it is there."""


@dataclass(frozen=True)
class GivenUp:
    """A job that failed for no fault of its request's, and what stands for trying it again: the Idempotency-Key that
    made it, or else its own."""

    job_id: str
    fields: Mapping[str, str]
    claim: Claim

    @property
    def is_rescoring(self) -> bool:
        """Whether it scores the samples of another one again."""
        return "source" in self.fields

    @property
    def expected(self) -> Gradients:
        """What it was to have of its gradients where."""
        retains = self.fields.get("retain", "0") != "0"
        kept = self.fields.get("keeps", self.fields["awaited"])  # an earlier release did not tell the two apart
        return Gradients(awaited=int(self.fields["awaited"]), retained=int(kept) if retains else 0)

    @property
    def asked(self) -> dict[str, str | int]:
        """The fields of a job that asks the same.

        :raises Conflict: that was tried already, and has failed too.
        """
        if "retried" in self.fields:
            latest = self.fields["retried"]
            raise Conflict(f"job {self.job_id} was tried again as job {latest}, which failed too; retry that one")
        return {**{name: self.fields[name] for name in ASKED if name in self.fields}, "retry_of": self.job_id}

    async def texts(self, redis: Redis) -> list[str]:
        """Its samples, a JSON list for each chunk.

        :raises NotFound: they are no longer kept.
        """
        texts = await redis.mget(keys.chunks(self.job_id, int(self.fields["chunks"])))
        if None in texts:
            raise NotFound(f"the samples of job {self.job_id} are no longer kept; send them again")
        return [text.decode() for text in cast("list[bytes]", texts)]


async def given_up(redis: Redis, job_id: str, fields: Mapping[str, str]) -> GivenUp:
    """
    :param fields: of the job's hash.
    :raises Conflict: it has not failed, or would fail again.
    """
    if (status := fields["status"]) != wire.JobStatus.FAILED:
        raise Conflict(f"job {job_id} has not failed: its status is {status}")
    if int(fields["error_status"]) < FAULTY:
        raise Conflict(f"job {job_id} failed for what it asks, and would again: its error says why")
    return GivenUp(job_id, fields, await _claim(redis, job_id, fields))


async def _claim(redis: Redis, job_id: str, fields: Mapping[str, str]) -> Claim:
    # Whoever sends the request of an Idempotency-Key once more, and whoever tries its job again, get one job.
    record = fields.get("idempotency", "")
    digest = cast("bytes | None", await redis.hget(record, "digest")) if record else None
    if digest is None:
        return retry_claim(job_id)
    return Claim(teams.plain(record.removeprefix(keys.idempotency(""))), digest.decode())
