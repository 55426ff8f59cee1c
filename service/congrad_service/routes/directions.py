"""`/directions`."""

from http import HTTPStatus
from typing import Annotated

from congrad.contract import wire
from fastapi import APIRouter, Body, Depends, Query, Request, Response

from congrad_service.edge.in_flight import Room
from congrad_service.http.problems import encoded_body
from congrad_service.scripts.limits import HISTORY
from congrad_service.state import Congrad

router = APIRouter(tags=["directions"])

SAFETENSORS = "application/octet-stream"
"""The media type of a state: safetensors files have none of their own."""


@router.get("/directions")
async def list_directions(state: Congrad) -> list[wire.DirectionSummary]:
    """All directions with their versions and counts."""
    return await state.directions.summaries()


@router.get("/directions/{name}")
async def get_direction(state: Congrad, name: str) -> wire.Direction:
    """Version, languages with counts and norms, and the cosines between them before and after surgery."""
    return await state.directions.get(name)


@router.get("/directions/{name}/scores")
async def direction_scores(state: Congrad, name: str) -> wire.DirectionScores:
    """How the latest conflict scores are distributed, by language: what another threshold would have kept."""
    return await state.directions.scores(name)


@router.get("/directions/{name}/history", response_model=list[wire.HistoryEntry])
async def direction_history(
    state: Congrad, name: str, limit: Annotated[int, Query(ge=1, le=HISTORY)] = HISTORY // 2
) -> Response:
    """How the direction came about: its latest versions, the oldest of them first. A reset or an import begins anew."""
    return Response(await state.directions.history(name, limit), media_type="application/json")


@router.get("/directions/{name}/conflicts")
async def direction_conflicts(state: Congrad, name: str) -> wire.DirectionConflicts:
    """Which languages the pairs conflict with that were folded in and not kept, since the direction began."""
    return await state.directions.conflicts(name)


@router.delete("/directions/{name}", status_code=204)
async def reset_direction(state: Congrad, name: str) -> None:
    """Forgets a direction; the next update starts a new one under the name."""
    await state.directions.reset(name)


@router.get(
    "/directions/{name}/state",
    response_class=Response,
    responses={200: {"content": {SAFETENSORS: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def export_direction(state: Congrad, room: Room, name: str) -> Response:
    """A direction with its vectors, as a safetensors file."""
    size = await state.directions.size(name)
    await room.reserve(2 * size)  # as Redis has them, and as a file
    content = await state.directions.export(name)
    room.give(size)
    # Only names of directions that there are come here, and those need no quoting.
    disposition = f'attachment; filename="{name}.safetensors"'
    return Response(content, media_type=SAFETENSORS, headers={"Content-Disposition": disposition})


async def _is_not_encoded(request: Request) -> None:
    """:raises UnsupportedMediaType: what came is compressed, and would pass for a file that is damaged."""
    if (encoded := encoded_body(request)) is not None:
        raise encoded


@router.put(
    "/directions/{name}/state",
    dependencies=[Depends(_is_not_encoded)],
    responses={201: {"model": wire.Direction, "description": "There was no direction of that name."}},
)
async def import_direction(
    state: Congrad,
    room: Room,
    name: wire.DirectionName,
    body: Annotated[bytes, Body(media_type=SAFETENSORS)],
    response: Response,
) -> wire.Direction:
    """Replaces a direction, or makes one, from an exported file.

    422 where its vectors are not as long as the gradients of its checkpoint, if that is served; 409 where it would be
    one more direction than are kept.
    """
    await room.take(2 * len(body))  # its vectors as they are read, and as Redis gets them
    await state.directions.check_room(name, state.settings.max_directions)
    dims = {served.fingerprint: served.projection.dim for served in await state.registry.served()}
    direction, replaced = await state.directions.replace(name, body, dims, state.settings.max_languages)
    response.status_code = HTTPStatus.OK if replaced else HTTPStatus.CREATED
    return direction
