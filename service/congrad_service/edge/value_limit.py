"""A limit on how much a body of JSON holds, counted before it is parsed: a value takes up to forty times its bytes once
it is, and microseconds in which nobody else is answered."""

import json
from collections.abc import Callable, Coroutine, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from congrad_service.edge import limits
from congrad_service.edge.json_values import marks, values

TOO_MANY = f"the body holds more than {limits.MAX_VALUES} names and values; send fewer samples at once"


def _holds_too_many(body: bytes) -> bool:
    encoding = json.detect_encoding(body)  # as `json.loads` takes it
    text = body if encoding.startswith("utf-8") else body.decode(encoding, "surrogatepass").encode(errors="replace")
    # Few marks are no more outside of strings; nearly all bodies are through here.
    return marks(text) + text.count(b'"') > limits.MAX_VALUES and values(text) > limits.MAX_VALUES


def _strings_of_json(body: Any) -> Iterator[bytes]:
    """Strings of a body that are JSON themselves, and parsed further on."""
    samples = body.get("samples") if isinstance(body, dict) else None
    for sample in samples if isinstance(samples, list) else ():
        if isinstance(sample, dict) and isinstance(tools := sample.get("tools"), str):
            yield tools.encode(errors="replace")


class BoundedRequest(Request):
    """A request whose JSON is bounded."""

    parsed: Any = None
    """What came, where that is JSON and was asked for."""

    async def json(self) -> Any:
        """
        :raises HTTPException: there is more than is taken. FastAPI lets no other exception pass while it reads a body.
        """
        if not hasattr(self, "_json"):
            if _holds_too_many(await self.body()):
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_MANY)
            self.parsed, count = await super().json(), 0
            for text in _strings_of_json(self.parsed):
                count += values(text)
                if count > limits.MAX_VALUES:
                    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_MANY)
        return self._json


class BoundedRoute(APIRoute):
    """A route that reads its body so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(BoundedRequest(request.scope, request.receive))

        return bounded
