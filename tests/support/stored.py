"""What Redis has of a job, as workers read it."""

from typing import Any

from congrad_service import keys
from congrad_worker.tasks.records import SAMPLES, JobRecord
from congrad_worker.tasks.store import Store


def record_of(store: Store, job_id: str) -> JobRecord | None:
    """A job; None if it is gone."""
    fields: Any = store.redis.hgetall(keys.job(job_id))
    return JobRecord.of(job_id, fields) if fields else None


def chunk_of(store: Store, job_id: str, number: int) -> list[Any] | None:
    """The samples of a chunk; None once the job has ended."""
    text: Any = store.redis.get(keys.chunk(job_id, number))
    return None if text is None else SAMPLES.validate_json(text)


def has_gradients(store: Store, job_id: str, number: int) -> bool:
    """Whether those of a chunk are there."""
    return bool(store.redis.exists(keys.gradients(job_id, number)))
