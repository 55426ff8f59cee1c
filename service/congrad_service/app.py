"""The application: an explicit list of routes over one state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware

from congrad_service import problems, request_id
from congrad_service.auth import BearerAuth
from congrad_service.body_limit import BodyLimit
from congrad_service.routes import directions, filter, health, jobs, rescore
from congrad_service.settings import ServiceSettings
from congrad_service.state import open_state
from congrad_service.tokens import Tokens


def create_app(settings: ServiceSettings) -> FastAPI:
    """The service under ``settings``.

    :raises TokensError: the file of tokens cannot be used.
    """
    tokens = Tokens(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_state(settings) as state:
            app.state.congrad = state
            yield

    app = FastAPI(
        title="CONGRAD",
        summary="Filters multilingual preference pairs by gradient consensus.",
        version=version("congrad"),
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,  # what links call an operation
        responses=problems.RESPONSES,
        middleware=[
            request_id.MIDDLEWARE,
            Middleware(BearerAuth, tokens=tokens),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
        ],
    )
    for module in (filter, jobs, rescore, directions, health):
        app.include_router(module.router)
    problems.install(app)
    return app
