"""What is received and sent at once, in bytes, of all and of each token. What there is no room for waits for a moment,
and is then refused: 429 where the token's own share is full, 503 where it is everybody's.

A body counts until its request is answered, because whoever reads it keeps it until then; an answer until the peer has
taken it, for which it is written in pieces.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from congrad_service.edge import limits
from congrad_service.edge.body_limit import declared_length
from congrad_service.http.errors import RETRY_AFTER_S, ServiceError, TooMuchAtOnce, Unavailable, problem_of
from congrad_service.http.problems import response
from congrad_service.observability.observed import is_probe

log = logging.getLogger(__name__)


@dataclass
class Share:
    """What is in flight of one token."""

    bytes: int = 0
    requests: int = 0


class Budget:
    """Bytes and requests in flight.

    :param most: bytes of all.
    :param most_each: bytes of one token.
    :param requests_each: requests of one token.
    """

    def __init__(self, most: int, most_each: int, requests_each: int):
        self._most, self._most_each, self._requests_each = most, most_each, requests_each
        self._shares: dict[str, Share] = {}
        self._bytes = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def request(self, name: str) -> AsyncIterator["Holding"]:
        """One request of a token, and what it holds until its end.

        :raises TooMuchAtOnce: the token has too many of them.
        """
        share = self._shares.setdefault(name, Share())
        if share.requests >= self._requests_each:
            raise TooMuchAtOnce(f"{name!r} has {share.requests} requests at once", retry_after=RETRY_AFTER_S)
        share.requests += 1
        holding = Holding(self, share)
        try:
            yield holding
        finally:
            holding.give(holding.bytes)
            share.requests -= 1
            if not share.requests:
                self._shares.pop(name, None)

    async def wait_for_room(self, share: Share, own: int, count: int) -> None:
        """Waits for a moment. What is larger than all of it has room where nothing else is.

        :param own: bytes that the one who asks has already.
        :raises TooMuchAtOnce: the token's own bytes are in the way.
        :raises Unavailable: those of others are.
        """
        try:
            async with asyncio.timeout(limits.ROOM_S):
                while not (self._fits_share(share, own, count) and _fits(self._bytes, own, count, self._most)):
                    await self._freed.wait()
        except TimeoutError:
            if self._fits_share(share, own, count):
                raise Unavailable("too much is being sent and received", retry_after=RETRY_AFTER_S) from None
            detail = "too much is being sent and received with this token; read the answers that are under way"
            raise TooMuchAtOnce(detail, retry_after=RETRY_AFTER_S) from None

    def take(self, share: Share, count: int) -> None:
        """Counts bytes."""
        share.bytes += count
        self._bytes += count

    def give(self, share: Share, count: int) -> None:
        """Makes room."""
        self.take(share, -count)
        self._freed.set()  # all who wait look again
        self._freed = asyncio.Event()

    def _fits_share(self, share: Share, own: int, count: int) -> bool:
        return _fits(share.bytes, own, count, self._most_each)


def _fits(used: int, own: int, count: int, most: int) -> bool:
    return used == own or used + count <= most


class Holding:
    """What one request has in flight."""

    def __init__(self, budget: Budget, share: Share):
        self.bytes = 0
        self.reserved = 0
        """Of these, what is kept for the answer."""
        self._budget = budget
        self._share = share

    async def take(self, count: int) -> None:
        """Counts bytes, once there is room for them: see `Budget.wait_for_room`. A little is not waited for, and there
        are only so many requests."""
        if self.bytes + count > limits.PIECE_BYTES:
            await self._budget.wait_for_room(self._share, self.bytes, count)
        self._budget.take(self._share, count)
        self.bytes += count

    async def reserve(self, count: int) -> None:
        """Counts the bytes of an answer before it is made: what has no room then is never in memory."""
        await self.take(count)
        self.reserved += count

    def give(self, count: int) -> None:
        """Makes room before the request ends."""
        self.bytes -= count
        self._budget.give(self._share, count)


class SlowReaderError(Exception):
    """The peer did not take an answer in time."""


class InFlight:
    """ASGI middleware that counts, within the one that knows callers. What they may have without a token is small."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, max_connections: int):
        self._app = app
        self._budget = Budget(
            limits.BODIES_AT_ONCE * max_body_bytes,
            limits.BODIES_AT_ONCE_EACH * max_body_bytes,
            requests_each=max(max_connections // 2, 1),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("state", {}).get("caller")
        if caller is None or is_probe(scope):
            await self._app(scope, receive, send)
            return
        try:
            async with self._budget.request(caller.name) as holding:
                declared = declared_length(Headers(scope=scope))  # a body that is longer is counted as it comes
                await holding.take(declared)
                scope["state"]["room"] = holding
                exchange = Exchange(holding, declared, receive, send)
                await self._app(scope, exchange.receive, exchange.send)
        except ServiceError as error:
            await response(problem_of(error), error.headers)(scope, receive, send)
        except SlowReaderError:
            log.warning("an answer was not read within %g s", limits.ANSWER_S)
            # uvicorn closes a connection whose answer does not end.


class Exchange:
    """One request and its answer, as they pass."""

    def __init__(self, holding: Holding, declared: int, receive: Receive, send: Send):
        self._holding = holding
        self._expected = declared
        self._receive = receive
        self._send = send
        self._is_refused = False

    async def receive(self) -> Message:
        """Passes a part of the request on, once there is room for it."""
        message = await self._receive()
        count = len(message.get("body", b""))
        more = max(count - self._expected, 0)  # all of it, where no length was declared
        self._expected = max(self._expected - count, 0)
        try:
            await self._holding.take(more)
        except ServiceError as error:
            # FastAPI lets no other exception pass while it reads a body.
            raise HTTPException(error.status, error.detail, error.headers) from None
        return message

    async def send(self, message: Message) -> None:
        """Passes a part of the answer on, in pieces: uvicorn takes the next one when the last ones have been taken."""
        if self._is_refused:
            return
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        body, is_last = memoryview(message.get("body", b"")), not message.get("more_body", False)
        try:
            async with asyncio.timeout(limits.ANSWER_S):
                for start in range(0, len(body) or 1, limits.PIECE_BYTES):
                    piece = body[start : start + limits.PIECE_BYTES]
                    ends = start + limits.PIECE_BYTES >= len(body)
                    await self._send({**message, "body": piece, "more_body": not (ends and is_last)})
        except TimeoutError:
            raise SlowReaderError from None

    async def _begin(self, message: Message) -> None:
        # A stream has none: its events are small, or those of all who watch.
        length = declared_length(Headers(raw=message["headers"]))
        try:
            await self._holding.take(max(length - self._holding.reserved, 0))
        except ServiceError as error:
            self._is_refused = True
            await response(problem_of(error), error.headers)({"type": "http"}, self._receive, self._send)
        else:
            await self._send(message)


def _of(request: Request) -> Holding:
    return cast("Holding", request.state.room)


Room = Annotated[Holding, Depends(_of)]
"""What a request holds, for routes that know how much more it will be."""
