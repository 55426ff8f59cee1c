"""The application: an explicit list of routes over one state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware

from congrad_service.access import auth
from congrad_service.access.tokens import Tokens
from congrad_service.edge.body_limit import BodyLimit
from congrad_service.edge.in_flight import InFlight
from congrad_service.http import problems, request_id, same_site
from congrad_service.http.answer_headers import AnswerHeaders
from congrad_service.http.heads import Heads
from congrad_service.observability import tracing
from congrad_service.observability.metrics import Metrics
from congrad_service.observability.observed import Observed, is_probe
from congrad_service.routes import (
    directions,
    events,
    filter,
    health,
    jobs,
    metrics,
    rescore,
    retry,
    workers,
)
from congrad_service.routes.pages import dashboard, docs
from congrad_service.settings import ServiceSettings
from congrad_service.state import open_state

TRACING: TelemetryConfig = {
    "exclude": is_probe,
    "auto_configure": False,  # `tracing.py` says where traces go
    "operation_spans": False,
    "metrics": False,  # they are Prometheus's
    "logs": False,  # they would quote what a client sent
}
"""What FastAPI tells OpenTelemetry, where that is on: a span for each request."""

ROUTER = APIRouter(responses=problems.RESPONSES, generate_unique_id_function=lambda route: route.name)
"""All routes. What links call an operation is its function's name. One for all applications of a process: FastAPI works
out what each route takes at the first request, which is half of what an application costs."""

for _module in (filter, jobs, rescore, retry, events, directions, health, workers, dashboard, docs, metrics):
    ROUTER.include_router(_module.router)


class _Congrad(FastAPI):
    def __init__(self, *, asks_for_tokens: bool, **options: Any):
        super().__init__(**options)
        self._asks_for_tokens = asks_for_tokens

    def openapi(self) -> dict[str, Any]:
        """FastAPI's, which knows nothing of middleware."""
        if self.openapi_schema is None and self._asks_for_tokens:
            auth.describe(super().openapi())
        return super().openapi()


def create_app(settings: ServiceSettings) -> FastAPI:
    """The service under ``settings``.

    :raises TokensError: the file of tokens cannot be used.
    """
    tokens = Tokens(settings)
    counted = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_state(settings, counted) as state:
            app.state.congrad = state
            yield
        await asyncio.to_thread(tracing.end)  # here, for uvicorn ends the process with the signal that it got

    app = _Congrad(
        asks_for_tokens=settings.asks_for_tokens,
        title="CONGRAD",
        summary="Filters multilingual preference pairs by gradient consensus.",
        version=version("congrad-filter"),
        lifespan=lifespan,
        routes=ROUTER.routes,
        telemetry=TRACING,
        middleware=[
            request_id.MIDDLEWARE,
            Middleware(Observed, metrics=counted),
            Middleware(AnswerHeaders),
            *_guards(settings),
            Middleware(auth.BearerAuth, tokens=tokens),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
            Middleware(InFlight, max_body_bytes=settings.max_body_bytes, max_connections=settings.max_connections),
            Middleware(Heads),
        ],
        redirect_slashes=False,  # to an address made of what the client says the service is called
        docs_url=None,  # `routes/pages/docs.py` has the page
        redoc_url=None,
    )
    problems.install(app)
    return app


def _guards(settings: ServiceSettings) -> list[Middleware]:
    """What stands in for a token where none is asked for: whoever can make a browser ask could do everything."""
    hosts = [] if settings.trusted_hosts is None else settings.trusted_hosts.split(",")
    if settings.asks_for_tokens:
        return [Middleware(same_site.TrustedHosts, hosts=hosts or [same_site.ANY])]
    return [Middleware(same_site.TrustedHosts, hosts=[*hosts, *same_site.LOOPBACK]), Middleware(same_site.SameOrigin)]
