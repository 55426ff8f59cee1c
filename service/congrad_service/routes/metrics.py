"""`/metrics`."""

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from congrad_service.scraping.gauges import Gauges
from congrad_service.scraping.snapshots import snapshot
from congrad_service.state import Congrad

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(state: Congrad, accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
    """What this process has counted, and what Redis says now, for Prometheus. Of directions it has those of the token's
    team that changed last; the rest is of all teams."""
    registry = CollectorRegistry()
    registry.register(state.metrics.registry)
    registry.register(Gauges(await snapshot(state)))
    content, media_type = await asyncio.to_thread(_encoded, registry, accept)
    return Response(content, headers={"Content-Type": media_type})


def _encoded(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The metrics in a form that is accepted, and its media type; in the usual one where none is asked for that is
    known, which prometheus_client does not always take calmly."""
    for wanted in (accept, ""):
        with suppress(TypeError, ValueError):
            encode, media_type = choose_encoder(wanted)
            return encode(registry), media_type
    raise AssertionError("there is a usual form")
