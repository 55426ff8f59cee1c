"""A proxy before Redis that can fall silent: connections stand, further ones are accepted, and nothing passes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class StoppedProxy:
    """``url`` is Redis's, through the proxy."""

    def __init__(self, upstream: str):
        self._upstream = urlsplit(upstream)
        self._passes = asyncio.Event()
        self._passes.set()
        self.url = ""
        self.pause_s = 0.0
        """After each 64 KiB of a connection."""

    def stop(self) -> None:
        """Holds everything back from now on."""
        self._passes.clear()

    def go_on(self) -> None:
        """Lets it pass again, with what was held back."""
        self._passes.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, asyncio.CancelledError):
            await self._passes.wait()
            upstream = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
            ways = [self._pass(reader, upstream[1]), self._pass(upstream[0], writer)]
            try:
                await asyncio.gather(*ways)
            finally:
                upstream[1].close()
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(2**16):
            await self._passes.wait()
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(self.pause_s * len(part) / 2**16)
        writer.close()


@asynccontextmanager
async def stopped_proxy(upstream: str) -> AsyncIterator[StoppedProxy]:
    """The proxy, which passes everything until it is stopped."""
    proxy = StoppedProxy(upstream)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.url = proxy._upstream._replace(netloc=f"{proxy._upstream.netloc.rpartition('@')[0]}@{host}:{port}").geturl()
    try:
        yield proxy
    finally:
        proxy.go_on()
        server.close()
