"""`POST /jobs/{id}/rescore`."""

from functools import partial

from congrad.contract import wire
from fastapi import APIRouter, Response

from congrad_service.edge.value_limit import BoundedRoute
from congrad_service.http.idempotency import claim
from congrad_service.http.prefer import parse_prefer
from congrad_service.jobs.acceptance import Accepted
from congrad_service.jobs.job_id import JobId
from congrad_service.observability import tracing
from congrad_service.routes.waiting import JOB_RESPONSES, IdempotencyKey, Prefer, answer, check_decide_worker
from congrad_service.state import Congrad, State

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=BoundedRoute)


@router.post(
    "/{job_id}/rescore",
    response_model=wire.FilterResult,
    responses=JOB_RESPONSES,
)
async def rescore_job(
    state: Congrad,
    job_id: JobId,
    request: wire.RescoreRequest,
    prefer: Prefer,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Scores the samples of a retained job again, against its direction as it stands now, or another, which does not
    change unless it is to be made of them. Their gradients are dropped then, unless they are retained once more.

    409 where the job was folded in and the direction has been reset or replaced since.
    """
    preference = parse_prefer(prefer, state.settings.max_wait)
    with tracing.span("accept"):
        accepted = await _accept(state, job_id, request, idempotency_key)
    return await answer(state, accepted, partial(state.queue.enqueue_decision, accepted.job_id), preference)


async def _accept(state: State, job_id: str, request: wire.RescoreRequest, idempotency_key: str | None) -> Accepted:
    claimed = claim(idempotency_key, job_id, request.model_dump_json())
    if (known := await state.jobs.known(claimed)) is not None:
        return known
    if request.update:
        assert request.direction is not None  # the request was checked
        await state.directions.check_room(request.direction, state.settings.max_directions)
    check_decide_worker(await state.registry.look())
    return await state.jobs.created_or_known(claimed, state.jobs.create_rescoring(job_id, request, claimed))
