"""uvicorn within `limits`, and what it takes: a place for each connection among the files that a process may open."""

import asyncio
import errno
import resource
from typing import Any

import uvicorn
from fastapi import FastAPI

from congrad_service.edge import limits
from congrad_service.edge.bounded_protocol import BoundedReader, Connections

TICKS = 5
"""Of uvicorn, a tenth of a second each, between two looks at the connections."""

OTHER_FILES = 256
"""What a process opens beside connections: to Redis and the broker, libraries, the log."""


class BoundedServer(uvicorn.Server):
    """A server of one process, with at most so many connections at once.

    :param config: what else uvicorn is to know.
    """

    def __init__(self, app: FastAPI, max_connections: int, **config: Any):
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedReader,  # type: ignore[arg-type] # uvicorn means whatever asyncio takes
                ws="none",
                timeout_keep_alive=int(limits.KEEP_ALIVE_S),
                server_header=False,
                **config,
            )
        )
        self.server_state = self._connections = Connections(max_connections)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS == 0:
            self.sweep()
        return await super().on_tick(counter)

    def sweep(self) -> None:
        """Ends the connections whose peers are late."""
        self._connections.sweep(asyncio.get_running_loop().time())


def allow_files(max_connections: int) -> int:
    """Lets this process open as many files as it needs for its connections, and says for how many connections the
    operating system has room.

    :raises OSError: for none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft <= OTHER_FILES:
        raise OSError(errno.EMFILE, f"a process may open {soft} files here (ulimit -n); it needs {OTHER_FILES + 1}")
    return min(max_connections, soft - OTHER_FILES)
