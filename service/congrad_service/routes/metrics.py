"""`/metrics`."""

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
    encode, media_type = choose_encoder(accept)
    return Response(encode(registry), headers={"Content-Type": media_type})
