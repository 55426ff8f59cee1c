"""A few requests in flight at once, their answers in order, and no more made than are asked for."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future
from itertools import islice
from queue import SimpleQueue
from typing import Generic, TypeVar

from congrad.errors import CongradError

I = TypeVar("I")  # noqa: E741 # an item
T = TypeVar("T")


def ahead(
    items: Iterable[I], run: Callable[[I, threading.Event], T], concurrency: int
) -> Generator[tuple[I, T | CongradError]]:
    """Runs ``run`` on each item, ``concurrency`` at a time, and yields items and outcomes in order.

    :param run: is given an event that is set when nobody wants its result any more.
    """
    check(concurrency)
    source = iter(items)
    window: deque[tuple[I, Future[T]]] = deque()
    threads = _Threads(run, concurrency)
    try:
        while True:
            for item in islice(source, concurrency - len(window)):
                window.append((item, threads.submit(item)))
                if window[0][1].done():  # a source may be slow, and somebody waits for the answer
                    break
            if not window:
                return
            item, future = window.popleft()
            try:
                outcome: T | CongradError = future.result()
            except CongradError as error:
                outcome = error
            yield item, outcome
    finally:
        threads.abandon()


class _Threads(Generic[I, T]):
    """Threads that nobody waits for: those of `concurrent.futures` are joined at exit, and Ctrl-C would then last as
    long as the service takes."""

    def __init__(self, run: Callable[[I, threading.Event], T], most: int):
        self._run = run
        self._most = most
        self._started = 0
        self._abandoned = threading.Event()
        self._queue: SimpleQueue[tuple[I, Future[T]] | None] = SimpleQueue()

    def submit(self, item: I) -> Future[T]:
        """The outcome of ``run`` on an item, later."""
        future: Future[T] = Future()
        self._queue.put((item, future))
        if self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name="congrad", daemon=True).start()
        return future

    def abandon(self) -> None:
        """Ends the threads, each when it comes to it."""
        self._abandoned.set()
        for _ in range(self._started):
            self._queue.put(None)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None and not self._abandoned.is_set():
            item, future = task
            try:
                future.set_result(self._run(item, self._abandoned))
            except BaseException as error:  # whatever it is, it belongs to whoever waits
                future.set_exception(error)


async def ahead_async(
    items: AsyncIterator[I], run: Callable[[I], Awaitable[T]], concurrency: int
) -> AsyncGenerator[tuple[I, T | CongradError]]:
    """`ahead` with tasks."""
    check(concurrency)
    window: deque[tuple[I, asyncio.Future[T]]] = deque()
    is_exhausted = False
    try:
        while True:
            while not is_exhausted and len(window) < concurrency:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    is_exhausted = True
                else:
                    window.append((item, asyncio.ensure_future(run(item))))
                    if window[0][1].done():
                        break
            if not window:
                return
            item, future = window.popleft()
            try:
                outcome: T | CongradError = await future
            except CongradError as error:
                outcome = error
            yield item, outcome
    finally:
        left = [future for _, future in window]
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def each(items: Iterable[I]) -> AsyncIterator[I]:
    """An iterable as an asynchronous one."""
    for item in items:
        yield item


def check(concurrency: int) -> None:
    """:raises ValueError: no request could ever be sent."""
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}; at least 1 request has to be in flight")
