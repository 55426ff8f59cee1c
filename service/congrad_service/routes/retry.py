"""`POST /jobs/{id}/retry`."""

from functools import partial

from congrad.contract import wire
from fastapi import APIRouter, Response

from congrad_service.access import teams
from congrad_service.http.prefer import parse_prefer
from congrad_service.jobs.acceptance import Accepted
from congrad_service.jobs.job_id import JobId
from congrad_service.observability import tracing
from congrad_service.routes.waiting import JOB_RESPONSES, Prefer, answer, check_decide_worker
from congrad_service.state import Congrad, State

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.post("/{job_id}/retry", response_model=wire.FilterResult, responses=JOB_RESPONSES)
async def retry_job(state: Congrad, job_id: JobId, prefer: Prefer) -> Response:
    """Asks once more what a job asked that was given up, with the same samples: a new job. Asked twice, or beside the
    same request under its `Idempotency-Key`, it is one.

    409 where the job has not failed, or has for what it asks; 404 where its samples are no longer kept.
    """
    preference = parse_prefer(prefer, state.settings.max_wait)
    with tracing.span("accept"):
        accepted = await _accept(state, job_id)
    if accepted.chunks:
        send = partial(state.queue.enqueue_gradients, accepted.job_id, accepted.chunks, accepted.fingerprint)
    else:
        send = partial(state.queue.enqueue_decision, accepted.job_id)
    return await answer(state, accepted, send, preference)


async def _accept(state: State, job_id: str) -> Accepted:
    failed = await state.jobs.given_up(job_id)
    if (known := await state.jobs.known(failed.claim)) is not None:
        return known
    live = await state.registry.look()
    if not failed.is_rescoring:
        standing = await state.directions.standing(teams.plain(failed.fields["direction"]))
        owner = None if standing is None else standing.fingerprint
        await state.registry.choose(live.served, failed.fields["fingerprint"], owner, await state.known_checkpoints())
    check_decide_worker(live)
    return await state.jobs.created_or_known(failed.claim, state.jobs.create_retry(failed))
