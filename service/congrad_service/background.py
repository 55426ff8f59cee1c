"""Work that goes on beside the requests for as long as the service runs, and work that is waited for up to a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


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


async def in_time(read: Coroutine[Any, Any, T], seconds: float) -> T:
    """What is read.

    :raises TimeoutError: that takes longer. It is no longer waited for, whether or not it has ended.
    """
    # Not `wait_for`, which waits until a cancellation has ended the task: redis-py was seen to swallow one.
    reading = asyncio.create_task(read)
    try:
        done, _ = await asyncio.wait({reading}, timeout=seconds)
        if not done:
            raise TimeoutError
        return reading.result()
    finally:
        abandon(reading)


def abandon(asked: "asyncio.Future[Any]") -> None:
    """Has it end, and waits for that no longer; what has ended stays as it is."""
    asked.add_done_callback(_forget)
    asked.cancel()


def _forget(asked: "asyncio.Future[Any]") -> None:
    """Looks at how it ended, so that asyncio does not complain that nobody did."""
    if not asked.cancelled():
        asked.exception()
