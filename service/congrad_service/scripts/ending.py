"""What a job is ended with that gets no answer."""

from typing import Any

from congrad.contract import wire

from congrad_service import keys
from congrad_service.scripts import limits
from congrad_service.settings import RedisSettings


def end(
    job_id: str, chunks: int, status: wire.JobStatus, error: wire.Problem | None, settings: RedisSettings
) -> dict[str, Any]:
    """The keys and arguments of `END`. A job's error says whose it is. One that was given up, for no fault of the
    request's, is kept for as long as an unfinished one, with its samples, so that it can be tried again."""
    if error is not None:
        error = error.model_copy(update={"instance": f"/jobs/{job_id}"})
    is_given_up = error is not None and error.status >= limits.FAULTY
    texts = keys.chunks(job_id, chunks)
    others = [*keys.remainder(job_id), *keys.all_gradients(job_id, chunks)]
    return {
        "keys": [keys.job(job_id), keys.JOBS_ACTIVE, *others, *texts],
        "args": [
            job_id,
            status,
            error.model_dump_json() if error else "",
            error.status if error else 0,
            settings.job_ttl if is_given_up else settings.result_ttl,
            len(texts) if is_given_up else 0,
            limits.GIVEN_UP_BYTES,
        ],
    }
