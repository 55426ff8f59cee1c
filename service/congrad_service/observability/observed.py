"""Every request is counted and timed, and has one line in the log: who asked for what, and what became of it."""

import logging
import time
from collections.abc import MutableMapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from congrad_service.observability import logs, tracing
from congrad_service.observability.metrics import Metrics

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""They come every few seconds, for ever: no line, and no trace."""

REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
"""Whoever tries tokens is seen, on these paths too."""

log = logging.getLogger(__name__)

_noted: ContextVar[dict[str, Any] | None] = ContextVar("noted", default=None)


def note(**values: Any) -> None:
    """Adds to the line and to the trace of the request that is being answered; never a text of a client's."""
    noted = _noted.get()
    if noted is not None:
        noted |= values
    tracing.note(**values)


def is_probe(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request is one that nobody wants to see again."""
    return scope["type"] != "http" or scope["path"] in PROBES


class Observed:
    """ASGI middleware around all that answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        token = _noted.set(exchange.noted)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            _noted.reset(token)
            self._metrics.count_request(exchange.route, scope["method"], exchange.status, exchange.head_s)
            if not is_probe(scope) or exchange.status in REFUSED:
                log.info("%s", exchange.line(), extra=logs.fields(**exchange.fields()))


class Exchange:
    """One request and its answer, as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.noted: dict[str, Any] = {}
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)  # further out, Starlette answers that where we do not
        self._scope = scope
        self._receive = receive
        self._send = send
        self._begun = time.perf_counter()
        self._head_s: float | None = None
        self._received = self._sent = 0

    async def receive(self) -> Message:
        """Passes a part of the request on."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """Passes a part of the answer on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._head_s = self._elapsed()
        self._sent += len(message.get("body", b""))
        await self._send(message)

    @property
    def route(self) -> str | None:
        """The template of the path, once it is routed."""
        template = getattr(self._scope.get("route"), "path_format", None)
        return template if isinstance(template, str) else None

    @property
    def head_s(self) -> float:
        """Seconds from the request to the head of the answer; until now, if there is none."""
        return self._elapsed() if self._head_s is None else self._head_s

    def line(self) -> str:
        """A sentence in the form that access logs have."""
        host, port = self._scope.get("client") or ("-", 0)
        asked = f'"{self._scope["method"]} {self._path} HTTP/{self._scope["http_version"]}"'
        more = "".join(f", {name} {value}" for name, value in self.noted.items())
        return f"{host}:{port} - {asked} {self.status} {HTTPStatus(self.status).phrase}, {self._elapsed():.3f} s{more}"

    def fields(self) -> dict[str, Any]:
        """The same as values."""
        return {
            "client": (self._scope.get("client") or (None,))[0],
            "method": self._scope["method"],
            "path": self._path,
            "route": self.route,
            "status": self.status,
            "seconds": round(self._elapsed(), 6),
            "received_bytes": self._received,
            "sent_bytes": self._sent,
            "job_id": self._scope.get("path_params", {}).get("job_id"),
            **self.noted,
        }

    @property
    def _path(self) -> str:
        """Without the query: whoever appends a token to a URL, as for a browser's EventSource, should not find it
        here."""
        return quote(self._scope["path"])

    def _elapsed(self) -> float:
        return time.perf_counter() - self._begun
