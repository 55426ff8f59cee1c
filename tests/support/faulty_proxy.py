"""A proxy between client and service that does to requests what networks, proxies and restarts do."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from http import HTTPStatus

import httpx

STALL_S = 30.0
"""Longer than any attempt of a test's client."""


class Fault(StrEnum):
    """What becomes of one request."""

    NONE = "none"
    DROP_BEFORE = "the connection is closed before the service sees the request"
    DROP_AFTER = "the service acts, and the connection is closed without its answer"
    STALL_BEFORE = "nothing happens, for longer than anyone waits"
    STALL_AFTER = "the service acts, and its answer does not come"
    TRICKLE = "the service acts, and its answer comes byte by byte"
    RATE_LIMIT = "429"
    RATE_LIMIT_WITH_RETRY_AFTER = "429, with Retry-After"
    SERVER_ERROR = "500"
    HTML_ERROR = "502 with a page"
    HTML_OK = "200 with a page"
    TRUNCATED = "the service acts, and half of its answer comes before the connection is closed"
    SHORTENED = "the service acts, and half of its answer comes as if it were the whole"


ALL_FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)

PAGE = b"<!doctype html><title>Bad gateway</title>"


class FaultyProxy:
    """As many requests as ``share`` says have a fault, by a seeded draw; every kind comes before one comes again.

    ``seen`` counts what was done.
    """

    def __init__(self, upstream: str, faults: tuple[Fault, ...], share: float, seed: int = 0):
        self.upstream = upstream
        self.seen: Counter[Fault] = Counter()
        self.url = ""
        self._faults = faults
        self._deck: list[Fault] = []
        self._share = share
        self._draw = random.Random(seed)  # noqa: S311 # a test's dice

    def next_fault(self) -> Fault:
        if self._draw.random() >= self._share:
            self.seen[Fault.NONE] += 1
            return Fault.NONE
        if not self._deck:
            self._deck = self._draw.sample(self._faults, len(self._faults))
        self.seen[self._deck[-1]] += 1
        return self._deck.pop()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request on one connection."""
        try:
            method, path, headers, body = await _read(reader)

            async def answer() -> httpx.Response:
                async with httpx.AsyncClient(base_url=self.upstream, timeout=120) as client:
                    return await client.request(method, path, headers=headers, content=body)

            await _play(self.next_fault(), answer, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has had enough, or the test is over
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "connection", "accept-encoding")}
    length = int(next((v for k, v in headers.items() if k.lower() == "content-length"), "0"))
    return method, path, kept, await reader.readexactly(length)


async def _play(fault: Fault, answer: Callable[[], Awaitable[httpx.Response]], writer: asyncio.StreamWriter) -> None:
    match fault:
        case Fault.NONE:
            response = await answer()
            writer.write(_head(response.status_code, len(response.content), response.headers) + response.content)
        case Fault.DROP_BEFORE:
            pass
        case Fault.DROP_AFTER:
            await answer()
        case Fault.STALL_BEFORE:
            await asyncio.sleep(STALL_S)
        case Fault.STALL_AFTER:
            await answer()
            await asyncio.sleep(STALL_S)
        case Fault.TRICKLE:
            response = await answer()
            writer.write(_head(response.status_code, len(response.content), response.headers))
            for byte in response.content:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
        case Fault.RATE_LIMIT:
            writer.write(_head(429, 0))
        case Fault.RATE_LIMIT_WITH_RETRY_AFTER:
            writer.write(_head(429, 0, {"Retry-After": "1"}))
        case Fault.SERVER_ERROR:
            writer.write(_head(500, 0))
        case Fault.HTML_ERROR:
            writer.write(_head(502, len(PAGE), {"Content-Type": "text/html"}) + PAGE)
        case Fault.HTML_OK:
            writer.write(_head(200, len(PAGE), {"Content-Type": "text/html"}) + PAGE)
        case Fault.TRUNCATED:
            response = await answer()
            head = _head(response.status_code, len(response.content), response.headers)
            writer.write(head + response.content[: len(response.content) // 2])
        case Fault.SHORTENED:
            response = await answer()
            half = response.content[: len(response.content) // 2]
            writer.write(_head(response.status_code, len(half), response.headers) + half)
    await writer.drain()


def _head(status: int, length: int, headers: httpx.Headers | dict[str, str] | None = None) -> bytes:
    shown = {k: v for k, v in (headers or {}).items() if k.lower() not in ("content-length", "transfer-encoding")}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in shown.items())]
    return "\r\n".join([*lines, f"Content-Length: {length}", "Connection: close", "", ""]).encode("latin-1")


@contextmanager
def faulty_proxy(
    upstream: str, faults: tuple[Fault, ...] = ALL_FAULTS, share: float = 0.5, seed: int = 0
) -> Iterator[FaultyProxy]:
    """The proxy, running in a thread."""
    proxy = FaultyProxy(upstream, faults, share, seed)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()

    def run() -> None:
        loop.run_until_complete(serve())
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
