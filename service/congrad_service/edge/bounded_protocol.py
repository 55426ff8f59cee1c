"""Limits on what a peer sends, holds open and leaves unread. uvicorn has none of them, and most of it comes before
anything of ours can ask for a token.

A connection waits for its peer in one of three phases, each with its time: for a head, for the rest of a request, for
the next request. While the application makes an answer, it waits for nobody. What the peer has not read of an answer
has a time of its own.
"""

import asyncio
import logging
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

from congrad.contract import wire
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from congrad_service.edge import limits
from congrad_service.http.errors import RETRY_AFTER_S
from congrad_service.http.problems import MEDIA_TYPE

LARGE_HEAD = f"the head of the request has more than {limits.MAX_HEAD_BYTES} bytes"

TELL_S = 10.0
"""Between two lines of the log about connections for which there was no room."""

log = logging.getLogger(__name__)


class Phase(Enum):
    """What a connection is at, as far as the latest request on it goes."""

    IDLE = auto()
    """It has come, and has its answer; nothing of the next one is there."""
    HEAD = auto()
    """Its line and fields are awaited, or have begun to come."""
    BODY = auto()
    """The rest of it."""
    WHOLE = auto()
    """All of it is there, and the application makes the answer."""


class Connections(ServerState):
    """The connections of a server, and what the heads of requests take up on all of them."""

    def __init__(self, most: int):
        super().__init__()
        self.heads_weight = 0
        # One for all: what was read is looked at before the next read.
        self.buffer = memoryview(bytearray(limits.READ_BYTES))
        self._most = most
        self._waiting: dict[BoundedProtocol, None] = {}  # for their peers; the longest first
        self._ended = 0
        self._told = float("-inf")

    def note(self, connection: "BoundedProtocol", is_waiting: bool) -> None:
        """Says that it begins to wait for its peer, or does not wait any more."""
        self._waiting.pop(connection, None)
        if is_waiting:
            self._waiting[connection] = None

    def has_room(self, newcomer: "BoundedProtocol") -> bool:
        """Whether one more connection can be kept. Where there are too many, that one goes which has waited longest for
        its peer: whoever comes with a request gets through to those who come with none."""
        return len(self.connections) <= self._most or self._end_oldest(newcomer)

    def has_room_for_heads(self, newcomer: "BoundedProtocol") -> bool:
        """The same for the heads of requests."""
        while self.heads_weight > limits.MAX_HEADS_WEIGHT:
            if not self._end_oldest(newcomer, with_head=True):
                return False
        return True

    def sweep(self, now: float) -> None:
        """Ends the connections whose peers are late."""
        for connection in cast("list[BoundedProtocol]", list(self.connections)):
            if connection.is_late(now):
                connection.transport.abort()

    def _end_oldest(self, newcomer: "BoundedProtocol", with_head: bool = False) -> bool:
        self._tell(newcomer.loop.time())
        for one in self._waiting:
            if one is not newcomer and (one.weight or not with_head):
                one.transport.abort()
                one.forget_head()
                self.note(one, False)
                return True
        return False

    def _tell(self, now: float) -> None:
        self._ended += 1
        if now - self._told > TELL_S:
            log.warning("too many connections: %d had to go, or were refused", self._ended)
            self._told, self._ended = now, 0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol within `limits`."""

    server_state: Connections

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.weight = 0
        self._phase = Phase.HEAD
        self._since = self.loop.time()
        self._stalled: float | None = None  # since when the peer has taken nothing
        self._head_bytes = self._fields = self._framing_bytes = self._rest_bytes = 0
        self._fault: tuple[HTTPStatus, str] | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._enter(Phase.HEAD)
        if not self.server_state.has_room(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections are open")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.server_state.note(self, False)
        self.forget_head()

    def data_received(self, data: bytes) -> None:
        self._framing_bytes += len(data)  # until `on_body` has found what it is for
        was_in_body = self._phase is Phase.BODY
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._phase is Phase.HEAD:
            self._in_head(len(data))
        elif self._phase is Phase.BODY:
            self._in_body(len(data), is_begun=was_in_body)
        elif self._framing_bytes > limits.MAX_FRAMING_BYTES:  # line breaks, which may be between two requests
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled = None
        if not (self._is_busy or self.transport.is_closing()):
            self.flow.resume_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._fields = 0
        self._enter(Phase.HEAD)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is not Phase.HEAD:
            return  # a trailer, which nobody reads
        self._fields += 1
        self._add_weight(limits.FIELD_WEIGHT)
        if self._fields > limits.MAX_FIELDS:
            self._fail(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the request has more than {limits.MAX_FIELDS} fields"
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        # What ends a head is not counted as it comes: the body may be in the same read.
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > limits.MAX_HEAD_BYTES:
            self._fail(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, LARGE_HEAD)
        if len(self.pipeline) >= limits.MAX_PIPELINED:
            self._fail(HTTPStatus.TOO_MANY_REQUESTS, "too many requests wait on this connection")
        if not self.server_state.has_room_for_heads(self):
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests come at once")
        super().on_headers_complete()
        self._framing_bytes = self._rest_bytes = 0
        self._enter(Phase.BODY)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(Phase.WHOLE if self._is_busy else Phase.IDLE)

    # What uvicorn calls.

    def on_response_complete(self) -> None:
        if self.pipeline and self.flow.write_paused:
            self.transport.close()  # who sends and does not read is not answered further
        super().on_response_complete()
        if not self._is_busy and self._phase is not Phase.HEAD:
            self._forget_request()
        self._enter(Phase.IDLE if self._phase is Phase.WHOLE and not self._is_busy else self._phase)
        if self.flow.write_paused and not self.transport.is_closing():
            self.flow.pause_reading()  # the next request is for those who have read this answer

    def send_400_response(self, msg: str) -> None:
        status, detail = self._fault or (HTTPStatus.BAD_REQUEST, msg)
        if self._is_busy and self._phase is not Phase.BODY:
            # It is behind a request that has no answer yet, and would pass for that one's.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif self._is_busy and self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(status, detail)

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """A line in the log for whoever asks for it."""

    # Ours.

    def is_late(self, now: float) -> bool:
        """Whether the peer has let its time pass."""
        waited = now - self._since
        if self._stalled is not None:
            return now - self._stalled > limits.STALLED_S
        if self.transport.is_closing() or (not self._is_busy and self.transport.get_write_buffer_size()):
            return waited > limits.STALLED_S
        match self._phase:
            case Phase.HEAD:
                return not self._is_busy and waited > limits.HEAD_S
            case Phase.BODY if self._is_busy:  # it is the application's, which answers 408, and then it is over
                return not self.pipeline and waited > limits.BODY_S + limits.LINGER_S
            case Phase.BODY:
                return waited > limits.LINGER_S
            case Phase.IDLE:
                return waited > limits.KEEP_ALIVE_S
        return False

    def forget_head(self) -> None:
        """Gives back what the heads of this connection weigh."""
        self.server_state.heads_weight -= self.weight
        self.weight = 0

    @property
    def _is_busy(self) -> bool:
        """Whether a request has no answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _enter(self, phase: Phase) -> None:
        self._phase, self._since = phase, self.loop.time()
        self.server_state.note(self, phase in (Phase.HEAD, Phase.IDLE) and not self._is_busy)

    def _in_head(self, count: int) -> None:
        self._head_bytes += count
        self._add_weight(count)
        if self._head_bytes > limits.MAX_HEAD_BYTES:
            self._fault = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, LARGE_HEAD)
            self.send_400_response(LARGE_HEAD)
        elif not self.server_state.has_room_for_heads(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests come at once")

    def _in_body(self, count: int, is_begun: bool) -> None:
        if self._framing_bytes > limits.MAX_FRAMING_BYTES:
            self.send_400_response(f"more than {limits.MAX_FRAMING_BYTES} bytes came that are none of the body")
        elif self._is_busy and not is_begun:
            self.flow.pause_reading()  # until the application asks for it
        elif not self._is_busy:
            self._rest_bytes += count
            if self._rest_bytes > limits.LINGER_BYTES:
                self.transport.abort()

    def _add_weight(self, weight: int) -> None:
        self.weight += weight
        self.server_state.heads_weight += weight

    def _forget_request(self) -> None:
        """Lets go of what came with the latest request, which is answered."""
        self.forget_head()
        self.url, self.headers = b"", []
        self.scope = self.cycle.scope = {}  # type: ignore[typeddict-item] # it is not looked at any more
        self.cycle.body = bytearray()

    def _fail(self, status: HTTPStatus, detail: str) -> None:
        """Ends the parser, which then asks for an answer.

        :raises ValueError: always.
        """
        self._fault = (status, detail)
        raise ValueError(detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answers without the application, and closes the connection."""
        content = wire.Problem(title=status.phrase, status=status, detail=detail).model_dump_json(exclude_none=True)
        fields = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            fields.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + content.encode())
        self.transport.close()
        self._enter(Phase.IDLE)


class BoundedReader(asyncio.BufferedProtocol):
    """What the event loop sees of a connection: it reads no more at once than `limits` say. uvicorn's own protocol gets
    up to 256 KiB of what a peer sends, before there is anyone who wants it."""

    def __init__(self, **arguments: Any):
        self._http = BoundedProtocol(**arguments)
        self._buffer = self._http.server_state.buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._http.connection_made(cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 # how much the loop would like
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._http.data_received(cast("bytes", self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()
