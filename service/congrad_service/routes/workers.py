"""`/checkpoints`, `/publications`, `/workers` and `/queue`: what all teams share."""

from http import HTTPStatus
from typing import Any

from congrad.contract import wire
from fastapi import APIRouter, Response

from congrad_service.edge.value_limit import BoundedRoute
from congrad_service.http.errors import Conflict, NotFound
from congrad_service.jobs.job_id import FORM
from congrad_service.jobs.room import room
from congrad_service.queue import orders
from congrad_service.queue.registry import without
from congrad_service.state import Congrad

router = APIRouter(tags=["workers"], route_class=BoundedRoute)


@router.get("/checkpoints")
async def list_checkpoints(state: Congrad) -> list[wire.Checkpoint]:
    """What the live workers serve, and what takes its place; and behind it what they have served, where a request for
    that waits for a worker."""
    live = await state.registry.checkpoints()
    return [*live, *without(await state.known_checkpoints(), live)]


@router.delete("/checkpoints/{fingerprint}", status_code=HTTPStatus.NO_CONTENT)
async def forget_checkpoint(state: Congrad, fingerprint: str) -> None:
    """Forgets a checkpoint that nobody serves any more, so that no request waits for it. Jobs that wait already are
    not touched.

    404 where it is not known; 409 while a worker serves it.
    """
    served = [c for c in await state.registry.served() if c.fingerprint == fingerprint]
    if served:
        raise Conflict(f"checkpoint {served[0].name} ({fingerprint}) is served by {served[0].workers} workers")
    if state.known is None or not await state.known.forget(fingerprint):
        raise NotFound(f"no checkpoint {fingerprint!r} is remembered")


LOCATION: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "It is on its way.",
        "headers": {"Location": {"description": "Where it can be looked at.", "schema": {"type": "string"}}},
    }
}


@router.post("/checkpoints", status_code=HTTPStatus.ACCEPTED, responses=LOCATION)
async def publish_checkpoint(state: Congrad, request: wire.PublishRequest, response: Response) -> wire.Publication:
    """Has the workers of one checkpoint load another in its place, without a restart: an adapter goes onto the base
    that they have in memory. What waits for the old one is done first, and it is served on where the new one cannot be.

    403 for what the operator has not allowed with `CONGRAD_MODELS`, 409 where something else is on its way already.
    """
    publication = await state.publications.ask(request)
    response.headers["Location"] = f"/publications/{publication.id}"
    return publication


@router.get("/publications/{publication_id}")
async def get_publication(state: Congrad, publication_id: str) -> wire.Publication:
    """How far the workers are with a checkpoint that was published."""
    if FORM.fullmatch(publication_id) is None:
        raise NotFound(f"there is no publication {publication_id!r}; an id has 32 hexadecimal digits")
    return await state.publications.get(publication_id)


ASLEEP, AWAKE = wire.SleepRequest(), wire.WakeRequest()
"""What a request without a body asks: all of it is optional."""


@router.post("/workers/sleep", status_code=HTTPStatus.ACCEPTED)
async def put_to_sleep(state: Congrad, request: wire.SleepRequest = ASLEEP) -> wire.Order:
    """Has workers that compute gradients give back the memory of their device, once nothing waits for them. A task that
    comes wakes one by itself.

    404 where none of them serves the checkpoint."""
    return await orders.give(state.redis, state.registry, request.checkpoint, request.level)


@router.post("/workers/wake", status_code=HTTPStatus.ACCEPTED)
async def wake_up(state: Congrad, request: wire.WakeRequest = AWAKE) -> wire.Order:
    """Has workers that sleep take up their weights again, before there is work.

    404 where none of them serves the checkpoint."""
    return await orders.give(state.redis, state.registry, request.checkpoint, None)


@router.get("/workers")
async def list_workers(state: Congrad) -> list[wire.Worker]:
    """The live workers: what they serve, and how they are doing."""
    return await state.registry.workers()


@router.get("/queue")
async def read_queue(state: Congrad) -> wire.Queue:
    """Unfinished jobs, and the tasks that wait for a worker; and room for the gradients that jobs retain."""
    queue = await state.depth.read()
    return queue.model_copy(update={"room": await room(state.redis, state.settings, state.team)})
