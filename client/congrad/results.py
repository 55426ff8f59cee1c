"""The answer of a call, put together from those of its requests."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from congrad import wire
from congrad.classify import is_unavailable
from congrad.errors import CongradError
from congrad.requests import Pairs, SelectionLike
from congrad.selection import select
from congrad.summary import summarise

OnUnavailable = Literal["raise", "keep", "drop"]
Outcome = list[wire.FilterResult] | CongradError

log = logging.getLogger("congrad")

_SELECTION: TypeAdapter[wire.Selection] = TypeAdapter(wire.Selection)


@dataclass(frozen=True)
class Filtered:
    """What `filter` returns.

    ``decisions`` are in the order of the samples; ``direction`` is the latest state that they were scored against, None
    where the service decided nothing; ``undecided`` are the positions that ``on_unavailable`` decided.
    """

    decisions: list[wire.Decision]
    direction: wire.DirectionRef | None
    job_ids: list[str]
    undecided: list[int]

    @property
    def keep(self) -> list[bool]:
        """Keep or drop, in the order of the samples."""
        return [decision.keep for decision in self.decisions]

    @property
    def summary(self) -> wire.Summary:
        """Counts by language, and over all."""
        return summarise(self.decisions)


class Selecting:
    """A selection as a call means it, and as its requests say it.

    A fraction within languages or the request is taken over the whole call: the requests then only score.
    """

    def __init__(self, selection: SelectionLike | None):
        self._own: wire.FractionSelection | None = None
        self.of_requests = selection
        parsed = _SELECTION.validate_python(selection or wire.ThresholdSelection())
        if isinstance(parsed, wire.FractionSelection) and parsed.within != "stream":
            self._own, self.of_requests = parsed, None

    def refuse_whole(self) -> None:
        """:raises ValueError: the selection needs all samples before it can say anything of one."""
        if self._own is not None:
            raise ValueError(
                f"within: {self._own.within} ranks all samples of a call, and a stream has no end; use within: stream, "
                "which ranks against the latest scores, or a threshold"
            )

    def apply(self, decisions: list[wire.Decision]) -> list[wire.Decision]:
        """The decisions of a whole call."""
        return decisions if self._own is None else select(self._own, decisions)


class Fallback:
    """What a call does with samples that the service cannot be reached for; never silently."""

    def __init__(self, on_unavailable: OnUnavailable):
        if on_unavailable not in ("raise", "keep", "drop"):
            raise ValueError(f"on_unavailable is {on_unavailable!r}; it can be raise, keep or drop")
        self._on_unavailable = on_unavailable
        self._told: set[int] = set()

    def decide_or_raise(self, pairs: Pairs, error: CongradError) -> list[wire.Decision]:
        """Decisions without a score.

        :raises CongradError: ``error``, unless it is the service's fault and the caller wants to go on without it.
        """
        if self._on_unavailable == "raise" or not is_unavailable(error):
            raise error
        keep = self._on_unavailable == "keep"
        if pairs.start not in self._told:  # the second pass fails where the first one did
            self._told.add(pairs.start)
            fate = "kept" if keep else "dropped"
            log.warning("%d samples from %d on are %s without a score: %s", len(pairs), pairs.start, fate, error)
        return [
            wire.Decision(
                id=str(row["id"]),
                language=str(row.get("language", "")),
                keep=keep,
                conflict_score=None,
                conflicts_with=[],
                truncated=False,
                reason=wire.Reason.UNAVAILABLE,
            )
            for row in pairs.rows
        ]


class Answers:
    """The outcomes of a call's requests, in their order."""

    def __init__(self, fallback: Fallback):
        self._fallback = fallback
        self._decisions: list[wire.Decision | None] = []
        self._undecided: list[int] = []
        self._error: CongradError | None = None
        self._direction: wire.DirectionRef | None = None
        self.job_ids: list[str] = []

    @property
    def has_failed(self) -> bool:
        """Whether a request has ended the call: no further ones are sent."""
        return self._error is not None

    def add(self, pairs: Pairs, outcome: Outcome) -> None:
        """The outcome of the next request."""
        if isinstance(outcome, CongradError):
            self._undecided += pairs.positions
            try:
                self._decisions += self._fallback.decide_or_raise(pairs, outcome)
            except CongradError as error:
                self._error = self._error or error
                self._decisions += [None] * len(pairs)
            return
        for result in outcome:
            self._decisions += result.decisions
            if self._direction is None or result.direction.version >= self._direction.version:
                self._direction = result.direction
            self.job_ids.append(result.job_id)

    def result(self, pairs: Sequence[Pairs], selecting: Selecting) -> Filtered:
        """The answer to all of ``pairs``.

        :raises CongradError: the first one, with the decisions that there are, and the positions without one.
        """
        if self._error is not None:
            count = sum(len(some) for some in pairs)
            never_sent = range(len(self._decisions), count)
            self._error.decisions = [*self._decisions, *(None for _ in never_sent)]
            self._error.undecided = [*self._undecided, *never_sent]
            done = count - len(self._error.undecided)
            self._error.add_note(f"{done} of {count} samples have decisions: see .decisions and .undecided")
            raise self._error
        decisions = selecting.apply([decision for decision in self._decisions if decision is not None])
        return Filtered(
            decisions=decisions,
            direction=self._direction,
            job_ids=self.job_ids,
            undecided=self._undecided,
        )
