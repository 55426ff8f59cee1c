"""`POST /filter`."""

import asyncio
from typing import Annotated

from congrad import wire
from fastapi import APIRouter, Header, Response
from fastapi.responses import JSONResponse
from kombu.exceptions import OperationalError

from congrad_service import errors, problems
from congrad_service.events import POLL_S
from congrad_service.jobs import Accepted
from congrad_service.prefer import Preference, parse_prefer
from congrad_service.registry import Role
from congrad_service.state import Congrad, State

router = APIRouter(tags=["filter"])

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]
Prefer = Annotated[str | None, Header(description="`respond-async`, or `wait=SECONDS`")]


@router.post(
    "/filter",
    response_model=wire.FilterResult,
    responses={202: {"model": wire.Job, "description": "The wait ended first; ask at `Location`."}},
)
async def filter_samples(
    state: Congrad,
    request: wire.FilterRequest,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Scores preference pairs against a direction, and says which to keep."""
    _check(request, state.settings.max_samples)
    preference = parse_prefer(prefer, state.settings.max_wait)
    job_id = await _submit(state, request, idempotency_key)
    job = await _wait(state, job_id, preference.wait)
    return _answer(job, preference)


def _check(request: wire.FilterRequest, max_samples: int) -> None:
    count = len(request.samples)
    if count > max_samples:
        raise errors.ContentTooLarge(f"{count} samples in one request; at most {max_samples} are taken")
    first: dict[str | None, int] = {}
    faults = []
    for index, sample in enumerate(request.samples):
        other = first.setdefault(sample.id, index)
        if other != index:
            detail = f"{errors.sample_name(index, sample.id)}: sample {other} has the same id"
            faults.append(wire.ProblemError(pointer=errors.pointer(["samples", index, "id"]), detail=detail))
    if faults:
        raise errors.Unprocessable(faults[0].detail, faults)


async def _submit(state: State, request: wire.FilterRequest, idempotency_key: str | None) -> str:
    accepted = await state.jobs.known(request, idempotency_key)
    if accepted is None:
        owner = await state.directions.fingerprint(request.direction)
        checkpoint = await state.registry.choose(request.checkpoint, owner)
        if not await state.registry.live(Role.DECIDE):
            raise errors.Unavailable("no decide worker is ready", retry_after=errors.RETRY_AFTER_S)
        accepted = await state.jobs.create(request, checkpoint, idempotency_key)
    if not accepted.enqueued:
        await _enqueue(state, accepted)
    return accepted.job_id


async def _enqueue(state: State, accepted: Accepted) -> None:
    """Sends the job's tasks; a job whose tasks cannot be sent ends at once, so that it does not fill the queue."""
    try:
        # Celery's producer blocks; a thread keeps the event loop free.
        await asyncio.to_thread(state.queue.enqueue_gradients, accepted.job_id, accepted.chunks, accepted.fingerprint)
    except OperationalError as error:
        unavailable = errors.Unavailable("the queue cannot be reached", retry_after=errors.RETRY_AFTER_S)
        await state.jobs.fail(accepted, errors.problem_of(unavailable))
        raise unavailable from error
    await state.jobs.mark_enqueued(accepted.job_id)


async def _wait(state: State, job_id: str, seconds: float) -> wire.Job:
    deadline = asyncio.get_running_loop().time() + seconds
    async with state.events.of(job_id) as changed:
        while True:
            changed.clear()
            job = await state.jobs.get(job_id)
            left = deadline - asyncio.get_running_loop().time()
            if job.status.ended or left <= 0 or state.draining.is_set():
                return job
            try:
                await asyncio.wait_for(changed.wait(), min(left, POLL_S))
            except TimeoutError:
                continue


def _answer(job: wire.Job, preference: Preference) -> Response:
    if job.result is not None:
        return JSONResponse(job.result.model_dump(mode="json"), headers=preference.applied)
    if job.error is not None:
        return problems.response(job.error)
    if job.status is wire.JobStatus.CANCELLED:
        raise errors.Conflict(f"job {job.id} was cancelled")
    headers = {"Location": f"/jobs/{job.id}", **preference.applied}
    return JSONResponse(job.model_dump(mode="json"), status_code=202, headers=headers)
