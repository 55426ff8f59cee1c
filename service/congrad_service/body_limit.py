"""A limit on the size of request bodies, enforced before they are read whole."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from congrad_service.errors import ContentTooLarge, problem_of
from congrad_service.problems import response


class BodyLimit:
    """ASGI middleware that answers 413 to larger bodies: at once where the length is declared, else as soon as the
    bytes that came exceed the limit."""

    def __init__(self, app: ASGIApp, max_bytes: int):
        self._app = app
        self._max_bytes = max_bytes
        self._detail = f"the body has more than {max_bytes} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = Headers(scope=scope).get("Content-Length", "") if scope["type"] == "http" else ""
        if declared.isascii() and declared.isdigit() and int(declared) > self._max_bytes:
            await response(problem_of(ContentTooLarge(self._detail)))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                # FastAPI lets no other exception pass while it reads a body.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._detail)
            return message

        await self._app(scope, counted, send)
