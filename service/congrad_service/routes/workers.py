"""`/checkpoints`, `/workers` and `/queue`: what all teams share."""

from congrad.contract import wire
from fastapi import APIRouter

from congrad_service.jobs.room import room
from congrad_service.state import Congrad

router = APIRouter(tags=["workers"])


@router.get("/checkpoints")
async def list_checkpoints(state: Congrad) -> list[wire.Checkpoint]:
    """What the live workers serve."""
    return await state.registry.checkpoints()


@router.get("/workers")
async def list_workers(state: Congrad) -> list[wire.Worker]:
    """The live workers: what they serve, and how they are doing."""
    return await state.registry.workers()


@router.get("/queue")
async def read_queue(state: Congrad) -> wire.Queue:
    """Unfinished jobs, and the tasks that wait for a worker; and room for the gradients that jobs retain."""
    queue = await state.depth.read()
    return queue.model_copy(update={"room": await room(state.redis, state.settings, state.team)})
