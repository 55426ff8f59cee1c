"""`POST /filter`."""

import asyncio
from functools import partial

from congrad.contract import wire
from congrad.contract.losses import refusal
from fastapi import APIRouter, Depends, Request, Response

from congrad_service.directions.directions import Standing
from congrad_service.edge.value_limit import BoundedRequest, BoundedRoute
from congrad_service.http import errors
from congrad_service.http.idempotency import claim
from congrad_service.http.prefer import parse_prefer
from congrad_service.jobs.acceptance import Accepted
from congrad_service.observability import tracing
from congrad_service.observability.observed import note
from congrad_service.routes.waiting import JOB_RESPONSES, IdempotencyKey, Prefer, answer, check_decide_worker
from congrad_service.settings import ServiceSettings
from congrad_service.state import Congrad, State

router = APIRouter(tags=["filter"], route_class=BoundedRoute)


async def _has_few_samples(request: Request, state: Congrad) -> None:
    """Looked at before the samples are, each of which takes time.

    :raises ContentTooLarge: there are too many.
    """
    body = request.parsed if isinstance(request, BoundedRequest) else None
    samples = body.get("samples") if isinstance(body, dict) else None
    most = state.settings.max_samples
    if isinstance(samples, list) and len(samples) > most:
        raise errors.ContentTooLarge(f"{len(samples)} samples in one request; at most {most} are taken")


@router.post(
    "/filter",
    dependencies=[Depends(_has_few_samples)],
    response_model=wire.FilterResult,
    responses=JOB_RESPONSES,
)
async def filter_samples(
    state: Congrad,
    request: wire.FilterRequest,
    prefer: Prefer,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Scores samples against a direction, and says which to keep: preference pairs, or prompts with one completion."""
    _check(request, state.settings)
    preference = parse_prefer(prefer, state.settings.max_wait)
    note(samples=len(request.samples))
    with tracing.span("accept"):
        accepted = await _accept(state, request, idempotency_key)
    send = partial(state.queue.enqueue_gradients, accepted.job_id, accepted.chunks, accepted.fingerprint)
    return await answer(state, accepted, send, preference)


def _check(request: wire.FilterRequest, settings: ServiceSettings) -> None:
    languages = len(_languages(request))
    if languages > settings.max_languages:
        raise errors.Unprocessable(f"{languages} languages in one request; at most {settings.max_languages} are taken")
    first: dict[str | None, int] = {}
    faults = []
    for index, sample in enumerate(request.samples):
        other = first.setdefault(sample.id, index)
        if other != index:
            detail = f"{errors.sample_name(index, sample.id)}: sample {other} has the same id"
            faults.append(wire.ProblemError(pointer=errors.pointer(["samples", index, "id"]), detail=detail))
    if faults:
        raise errors.Unprocessable(faults[0].detail, faults)


def _check_kinds(request: wire.FilterRequest, loss: str) -> None:
    """:raises Unprocessable: the workers' loss cannot judge some of the samples."""
    faults = [
        wire.ProblemError(
            pointer=errors.pointer(["samples", index, "completion"]),
            detail=f"{errors.sample_name(index, sample.id)}: {reason}",
        )
        for index, sample in enumerate(request.samples)
        if (reason := refusal(sample, loss)) is not None
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise errors.Unprocessable(faults[0].detail + more, faults)


def _languages(request: wire.FilterRequest) -> set[str]:
    return {sample.language for sample in request.samples}


async def _check_room(state: State, request: wire.FilterRequest, standing: Standing | None) -> None:
    """:raises Conflict: there are too many directions, or the direction would have too many languages."""
    if standing is None:
        await state.directions.check_room(request.direction, state.settings.max_directions)
    else:
        standing.check_languages(_languages(request), state.settings.max_languages)


async def _accept(state: State, request: wire.FilterRequest, idempotency_key: str | None) -> Accepted:
    claimed = claim(idempotency_key, request.model_dump_json())
    if (known := await state.jobs.known(claimed)) is not None:
        return known
    standing, live = await asyncio.gather(state.directions.standing(request.direction), state.registry.look())
    owner = None if standing is None else standing.fingerprint
    away = await state.known_checkpoints()
    checkpoint = await state.registry.choose(live.served, request.checkpoint, owner, away)
    _check_kinds(request, checkpoint.loss)
    if standing is not None:
        standing.check_terms(request)
    if request.update:
        await _check_room(state, request, standing)
    check_decide_worker(live)
    return await state.jobs.create(request, checkpoint, claimed)
