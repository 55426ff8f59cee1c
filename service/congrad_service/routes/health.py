"""`/livez` and `/readyz`."""

from fastapi import APIRouter

from congrad_service.background import in_time
from congrad_service.http.errors import RETRY_AFTER_S, Unavailable
from congrad_service.queue.registry import Role
from congrad_service.state import Congrad, State

DEADLINE_S = 2.0
"""Whoever probes waits for a few seconds; requests wait longer for a Redis that has fallen silent."""

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers; nothing else is asked, so that a fault elsewhere does not restart it."""
    return {"status": "live"}


@router.get("/readyz")
async def readyz(state: Congrad) -> dict[str, str]:
    """Redis answers, and a gradients worker and a decide worker are there. They may be asleep: work wakes them. Where
    gradients workers may be brought up by work, `waiting_for_work` names the checkpoints that they would serve."""
    try:
        return await in_time(_ready(state), DEADLINE_S)
    except TimeoutError:
        raise Unavailable("the store of jobs and directions did not answer", retry_after=RETRY_AFTER_S) from None


async def _ready(state: State) -> dict[str, str]:
    missing = [role for role in Role if not await state.registry.live(role)]
    known = await state.known_checkpoints() if Role.GRADIENTS in missing else []
    if known and missing == [Role.GRADIENTS]:
        return {"status": "ready", "waiting_for_work": ", ".join(f"{c.name} ({c.fingerprint})" for c in known)}
    if missing:
        raise Unavailable(f"no live worker for: {', '.join(missing)}", retry_after=RETRY_AFTER_S)
    return {"status": "asleep" if await state.registry.are_asleep() else "ready"}
