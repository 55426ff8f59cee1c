"""The bearer token: asked for everywhere but at /livez, the documentation and unknown paths included."""

import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from congrad_service.errors import Unauthorized, problem_of
from congrad_service.problems import response

OPEN_PATHS = frozenset({"/livez"})


class BearerAuth:
    """ASGI middleware that answers 401 to requests without the token."""

    def __init__(self, app: ASGIApp, api_key: SecretStr | None):
        self._app = app
        self._expected = None if api_key is None else b"Bearer " + api_key.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._expected is None or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("Authorization", "").encode("latin-1")
        if hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        error = Unauthorized("a valid bearer token is needed" if given else "a bearer token is needed")
        await response(problem_of(error), error.headers)(scope, receive, send)
