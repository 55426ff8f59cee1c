"""Jobs as lists show them: without their decisions, which can be megabytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.access import teams

FIELDS = (
    "status",
    "direction",
    "checkpoint",
    "samples",
    "created",
    "ended",
    "chunks",
    "missing",
    "kept",
    "dropped",
    "timing",
    "error",
    "starts",
    "again",
    "retried",
    "retain",
    "source",
)


@dataclass(frozen=True)
class Summarised:
    """A job, and whose it is."""

    team: str | None
    summary: wire.JobSummary


async def summaries(redis: Redis, job_ids: Sequence[str]) -> list[Summarised]:
    """The jobs of these that are there, in one turn."""
    # As `Jobs.get` reads: no transaction, and what is missing first.
    async with redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.scard(keys.pending(job_id))
            pipe.hmget(keys.job(job_id), list(FIELDS))
        found = await pipe.execute()
    return [
        _summarised(job_id, _fields(values), pending)
        for job_id, pending, values in zip(job_ids, found[::2], found[1::2], strict=True)
        if values[0] is not None
    ]


def missing_chunks(fields: Mapping[str, str], pending: int) -> int:
    """How many chunks of a job are not done.

    :param pending: those of its pending set, which is gone once the job has ended, or was read before.
    """
    return 0 if fields["status"] == wire.JobStatus.SUCCEEDED else int(fields.get("missing", pending))


def is_retained(fields: Mapping[str, str]) -> bool:
    """Whether a job has gradients of its own that can be scored again. One with a source is about another job's."""
    return fields["status"] == wire.JobStatus.SUCCEEDED and fields.get("retain") == "1" and "source" not in fields


def _fields(values: Sequence[bytes | None]) -> dict[str, str]:
    return {name: value.decode() for name, value in zip(FIELDS, values, strict=True) if value}


def _summarised(job_id: str, fields: Mapping[str, str], pending: int) -> Summarised:
    total = int(fields["chunks"])
    summary = wire.JobSummary(
        id=job_id,
        status=wire.JobStatus(fields["status"]),
        direction=teams.plain(fields["direction"]),
        checkpoint=fields["checkpoint"],
        samples=int(fields["samples"]),
        created=_time(fields["created"]),
        ended=_time(fields["ended"]) if "ended" in fields else None,
        progress=wire.Progress(done=total - missing_chunks(fields, pending), total=total),
        kept=int(fields["kept"]) if "kept" in fields else None,
        dropped=int(fields["dropped"]) if "dropped" in fields else None,
        timing=wire.Timing.model_validate_json(fields["timing"]) if "timing" in fields else None,
        error=wire.Problem.model_validate_json(fields["error"]) if fields.get("error") else None,
        starts=int(fields["starts"]) if "starts" in fields else None,
        can_be_retried="again" in fields,
        retried=fields.get("retried"),
        retained=is_retained(fields),
    )
    return Summarised(teams.team_of(fields["direction"]), summary)


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(float(text), UTC)
