"""What a worker's process has done since it started: counted where it works, read by its heartbeat and its metrics."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_S = 60.0
"""Seconds of work that the rate of tokens is taken over. Idle time is none."""


class Activity:
    """Counts of one process. One thread works; any thread may read.

    All numbers but the rate only grow.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks = 0
        self._tokens = 0
        self._computed = 0
        self._overflows = 0
        self._worked = 0.0
        self._since: float | None = None  # when the task that is being done began
        self._marks = deque([(0.0, 0)])  # busy seconds and tokens, at earlier times

    @property
    def tasks(self) -> int:
        """Tasks that were done. One that goes back to the queue is not."""
        return self._tasks

    @property
    def tokens(self) -> int:
        """Tokens of samples whose gradients were computed."""
        return self._tokens

    @property
    def computed_tokens(self) -> int:
        """Tokens that went through the model for it: with padding, and twice where a prompt was computed twice."""
        return self._computed

    @property
    def overflows(self) -> int:
        """How often a batch did not fit into the memory of the device."""
        return self._overflows

    @property
    def is_busy(self) -> bool:
        """Whether a task is being done."""
        return self._since is not None

    @property
    def busy_s(self) -> float:
        """Seconds spent on tasks, the one that is being done included."""
        with self._lock:
            return self._busy_s()

    @property
    def tokens_per_s(self) -> float | None:
        """`tokens` a second, over the last `WINDOW_S` of work; None before there were any."""
        with self._lock:
            if not self._tokens:
                return None
            busy, tokens = self._marks[0]
            return (self._tokens - tokens) / max(self._busy_s() - busy, 1e-3)

    @contextmanager
    def task(self) -> Iterator[None]:
        """One task, which the block does."""
        with self._lock:
            self._since = time.monotonic()
        try:
            yield
            self._tasks += 1
        finally:
            with self._lock:
                self._worked, self._since = self._busy_s(), None

    def count(self, tokens: int, computed: int) -> None:
        """Adds to `tokens` and `computed_tokens`; once a batch, as it costs a lock."""
        with self._lock:
            self._tokens += tokens
            self._computed += computed
            busy = self._busy_s()
            self._marks.append((busy, self._tokens))
            while self._marks[1][0] < busy - WINDOW_S:
                self._marks.popleft()

    def count_overflow(self) -> None:
        """Adds to `overflows`."""
        self._overflows += 1

    def _busy_s(self) -> float:
        return self._worked + (0.0 if self._since is None else time.monotonic() - self._since)
