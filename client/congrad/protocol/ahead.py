"""A few requests in flight at once, their answers in order, and no more made than are asked for. With threads:
`ahead_async` has the tasks."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextvars import Context, copy_context
from itertools import islice
from queue import SimpleQueue
from typing import Generic, SupportsIndex, TypeVar

from congrad.errors import APITimeoutError, CongradError

I = TypeVar("I")  # noqa: E741 # an item
T = TypeVar("T")


def ahead(
    items: Iterable[I], run: Callable[[I, threading.Event], T], concurrency: int, seconds: float | None = None
) -> Generator[tuple[I, T | CongradError]]:
    """Runs ``run`` on each item, ``concurrency`` at a time, and yields items and outcomes in order.

    Where ``items`` raises, that comes after the outcomes of the items before.

    :param run: is given an event that is set when nobody wants its result any more.
    :param seconds: how long an outcome may take, even if ``run`` itself finds no end.
    """
    check(concurrency)
    source = Source(items)
    window: deque[tuple[I, Future[T]]] = deque()
    threads = _Threads(run, concurrency)
    try:
        while True:
            for item in islice(source, concurrency - len(window)):
                window.append((item, threads.submit(item)))
                if window[0][1].done():  # a source may be slow, and somebody waits for the answer
                    break
            if not window:
                source.raise_failure()
                return
            item, future = window.popleft()
            try:
                # A thread cannot be ended from outside: what is late is given up, and its thread left to its own
                # timeout.
                outcome: T | CongradError = future.result(seconds)
            except FutureTimeoutError:
                outcome = APITimeoutError(f"there was no answer after {seconds:.3g} s")
            except CongradError as error:
                outcome = error
            yield item, outcome
    finally:
        threads.abandon()


class Source(Generic[I]):
    """An iterator that ends where its items raise, and says so when it is asked."""

    def __init__(self, items: Iterable[I]):
        self._items = iter(items)
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[I]:
        return self

    def __next__(self) -> I:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except Exception as error:
            # A generator that has raised is over. Its failure is told once the outcomes of the items before it are.
            self._failure = error
            raise StopIteration from None

    def raise_failure(self) -> None:
        """:raises Exception: what the items raised, if they did."""
        if self._failure is not None:
            raise self._failure


class _Threads(Generic[I, T]):
    """Threads that nobody waits for: those of `concurrent.futures` are joined at exit, and Ctrl-C would then last as
    long as the service takes."""

    def __init__(self, run: Callable[[I, threading.Event], T], most: int):
        self._run = run
        self._most = most
        self._started = 0
        self._abandoned = threading.Event()
        self._queue: SimpleQueue[tuple[I, Future[T], Context] | None] = SimpleQueue()

    def submit(self, item: I) -> Future[T]:
        """The outcome of ``run`` on an item, later; in the context of the caller, to whose trace it belongs."""
        future: Future[T] = Future()
        self._queue.put((item, future, copy_context()))
        if self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name="congrad", daemon=True).start()
        return future

    def abandon(self) -> None:
        """Ends the threads, each when it comes to it."""
        # Futures of what is still in the queue stay empty: nobody is left to look at them. The None wakes those that
        # wait.
        self._abandoned.set()
        for _ in range(self._started):
            self._queue.put(None)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None and not self._abandoned.is_set():
            item, future, context = task
            try:
                future.set_result(context.run(self._run, item, self._abandoned))
            except BaseException as error:  # whatever it is, it belongs to whoever waits
                future.set_exception(error)


def until_failure(items: Iterable[I], failures: Sized) -> Iterator[I]:
    """The items, until there is a failure: what is under way then is the last."""
    source = iter(items)
    while not failures:
        try:
            item = next(source)
        except StopIteration:
            return
        yield item


def check(concurrency: int) -> None:
    """:raises ValueError: no request could ever be sent."""
    if not isinstance(concurrency, SupportsIndex) or concurrency < 1:
        raise ValueError(f"concurrency is {concurrency!r}; at least 1 request has to be in flight")
