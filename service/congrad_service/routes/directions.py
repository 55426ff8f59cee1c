"""`/directions` and `/checkpoints`."""

from congrad import wire
from fastapi import APIRouter

from congrad_service.state import Congrad

router = APIRouter(tags=["directions"])


@router.get("/directions")
async def list_directions(state: Congrad) -> list[wire.DirectionSummary]:
    """All directions with their versions and counts."""
    return await state.directions.summaries()


@router.get("/directions/{name}")
async def get_direction(state: Congrad, name: str) -> wire.Direction:
    """Version, languages with counts and norms, and the cosines between them before and after surgery."""
    return await state.directions.get(name)


@router.delete("/directions/{name}", status_code=204)
async def reset_direction(state: Congrad, name: str) -> None:
    """Forgets a direction; the next update starts a new one under the name."""
    await state.directions.reset(name)


@router.get("/checkpoints")
async def list_checkpoints(state: Congrad) -> list[wire.Checkpoint]:
    """What the live workers serve."""
    return await state.registry.checkpoints()
