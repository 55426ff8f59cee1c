"""`ahead` with tasks; a module of its own, as a program without an event loop need not wait for asyncio's import."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sized
from typing import TypeVar

from congrad.errors import CongradError
from congrad.protocol.ahead import check

I = TypeVar("I")  # noqa: E741 # an item
T = TypeVar("T")


async def ahead_async(
    items: AsyncIterator[I], run: Callable[[I], Awaitable[T]], concurrency: int
) -> AsyncGenerator[tuple[I, T | CongradError]]:
    """`ahead` with tasks, which `run` ends in time by itself."""
    window: deque[tuple[I, asyncio.Future[T]]] = deque()
    is_exhausted, failure = False, None
    check(concurrency)
    try:
        while True:
            while not is_exhausted and len(window) < concurrency:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    is_exhausted = True
                except Exception as error:
                    is_exhausted, failure = True, error
                else:
                    # The event loop keeps weak references only: it is the window that keeps a task alive.
                    window.append((item, asyncio.ensure_future(run(item))))
                    if window[0][1].done():
                        break
            if not window and failure is not None:
                raise failure
            if not window:
                return
            item, future = window.popleft()
            try:
                outcome: T | CongradError = await future
            except CongradError as error:
                outcome = error
            yield item, outcome
    finally:
        # Cancelled and waited for: a task must not outlive the call, and no exception of one go unnoticed.
        left = [future for _, future in window]
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def until_failure_async(items: AsyncIterator[I], failures: Sized) -> AsyncIterator[I]:
    """`until_failure` of what comes asynchronously."""
    while not failures:
        try:
            item = await anext(items)
        except StopAsyncIteration:
            return
        yield item


async def each(items: Iterable[I]) -> AsyncIterator[I]:
    """An iterable as an asynchronous one."""
    for item in items:
        yield item
