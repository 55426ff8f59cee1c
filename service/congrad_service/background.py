"""Work that goes on beside the requests for as long as the service runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def background(run: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Runs a coroutine for the time of the block.

    :param run: gets an event that is set when it is to end. While it connects, redis-py was seen to swallow a
        cancellation; looking at the event, also in its pauses, ends the task all the same.
    """
    stopped = asyncio.Event()
    task = asyncio.create_task(run(stopped))
    try:
        yield
    finally:
        stopped.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def pause(stopped: asyncio.Event, seconds: float) -> None:
    """Waits that long, or until it is stopped."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopped.wait(), seconds)
