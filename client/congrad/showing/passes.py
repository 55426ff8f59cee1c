"""How far passes over some rows are, and how long the rest will take. Knows no terminal."""

import time
from collections.abc import Callable
from statistics import median

from congrad.contract import wire

AGAIN = 0.75
"""Of the time that a decision takes: to score a row again is to read it and to compare it, without folding it in. From
Redis it was 0.9, from a gradient store 0.65, so that neither is off by much."""


class Passes:
    """Rows that are each answered once in every pass, one pass after the other.

    Which of them had their answers before is told apart from what is done now: no time was seen to pass for those.

    :param changed: called when there is something new to show.
    :param clock: seconds.
    """

    def __init__(
        self,
        rows: int,
        passes: int = 1,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.rows = rows
        self.passes = passes
        self._changed = changed
        self._clock = clock
        self._current = 0
        self._had = [0] * passes
        self._did = [0] * passes
        self._decided: list[float] = []  # seconds of a decision, for each of its rows
        self._took = [0.0] * passes
        self._since = self._at = clock()

    @property
    def done(self) -> int:
        """Rows of all passes."""
        return sum(self._had) + sum(self._did)

    @property
    def total(self) -> int:
        """Likewise."""
        return self.rows * self.passes

    def again(self) -> None:
        """The next pass begins, if there is one."""
        self._current = min(self._current + 1, self.passes - 1)

    def had(self, count: int) -> None:
        """So many rows have had the answer of this pass before."""
        self._had[self._current] += count
        self._since = self._at = self._clock()
        self._changed()

    def __call__(self, count: int, timing: wire.Timing | None = None) -> None:
        """So many rows have the answer of this pass now.

        :param timing: of the request that they were in.
        """
        current, self._at = self._current, self._clock()
        self._took[current] += self._at - self._since
        self._since = self._at
        self._did[current] += count
        if timing is not None and current == 0 and count:
            self._decided.append(timing.decide_s / count)
        self._changed()

    @property
    def left_s(self) -> float | None:
        """Seconds until the end; None where nothing is known of that."""
        left = 0.0
        for number in range(self._current, self.passes):
            missing = self.rows - self._had[number] - self._did[number]
            each = self._seconds_a_row(number)
            if missing > 0 and each is None:
                return None
            left += max(missing, 0) * (each or 0.0)
        return max(left - (self._clock() - self._at), 0.0)

    def _seconds_a_row(self, number: int) -> float | None:
        """In a pass, as it was seen there; before that as those of the first pass let one think."""
        if self._did[number]:
            return self._took[number] / self._did[number]
        if not number or not self._did[0]:
            return None
        # No slower than the first pass, whatever decisions had to wait for each other there.
        seen = [self._took[0] / self._did[0], *([median(self._decided)] if self._decided else [])]
        return AGAIN * min(seen)
