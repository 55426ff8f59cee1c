"""Limits on the size of request bodies and on the time that they take, enforced before they are read whole."""

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from congrad_service.edge import limits
from congrad_service.http.errors import ContentTooLarge, problem_of
from congrad_service.http.problems import response


def declared_length(headers: Headers) -> int:
    """What is declared; 0 where nothing is."""
    declared = headers.get("Content-Length", "")
    # Zeros in front are allowed, thousands of them too, and Python reads no number of so many digits.
    return int(declared.lstrip("0") or "0") if declared.isascii() and declared.isdigit() else 0


class BodyLimit:
    """ASGI middleware that answers 413 to larger bodies: at once where the length is declared, else as soon as the
    bytes that came exceed the limit. Those that come too slowly are answered 408."""

    def __init__(self, app: ASGIApp, max_bytes: int):
        self._app = app
        self._max_bytes = max_bytes
        self._detail = f"the body has more than {max_bytes} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and declared_length(Headers(scope=scope)) > self._max_bytes:
            await response(problem_of(ContentTooLarge(self._detail)))(scope, receive, send)
            return
        received, is_whole = 0, scope["type"] != "http"
        deadline = asyncio.get_running_loop().time() + limits.BODY_S

        async def counted() -> Message:
            nonlocal received, is_whole
            try:
                async with asyncio.timeout_at(None if is_whole else deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"the body was not there after {limits.BODY_S:g} s"
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail) from None
            received += len(message.get("body", b""))
            is_whole = is_whole or not message.get("more_body", False)
            if received > self._max_bytes:
                # FastAPI lets no other exception pass while it reads a body.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail)
            return message

        await self._app(scope, counted, send)
