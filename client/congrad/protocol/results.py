"""The answer of a call, put together from those of its requests."""

import logging
from dataclasses import dataclass, field

from congrad.contract import wire
from congrad.contract.selection import chosen, select
from congrad.contract.summary import summarise
from congrad.contract.tags.languages import normalise_language
from congrad.errors import CongradError
from congrad.protocol.answers.classify import is_unavailable
from congrad.protocol.options import OnUnavailable, SelectionLike
from congrad.protocol.requests import Pairs

Part = tuple[Pairs, wire.FilterResult | CongradError]
"""Some neighbouring pairs, and what came of them."""


def timing_of(part: Part) -> wire.Timing | None:
    """Where the time of a part went; None where nothing came of it."""
    _, outcome = part
    return None if isinstance(outcome, CongradError) else outcome.timing


log = logging.getLogger("congrad")


@dataclass(frozen=True)
class Filtered:
    """What `filter` returns.

    ``decisions`` are in the order of the samples; ``direction`` is the latest state that they were scored against, None
    where the service decided nothing; ``undecided`` are the positions that ``on_unavailable`` decided; ``retained`` are
    the jobs whose gradients are kept, for `Client.rescore`.
    """

    decisions: list[wire.Decision]
    direction: wire.DirectionRef | None
    job_ids: list[str]
    undecided: list[int]
    retained: list[str] = field(default_factory=list)

    @property
    def keep(self) -> list[bool]:
        """Keep or drop, in the order of the samples."""
        return [decision.keep for decision in self.decisions]

    @property
    def summary(self) -> wire.Summary:
        """Counts by language, and over all."""
        return summarise(self.decisions)

    def _repr_html_(self) -> str:
        """What a notebook shows: a table by language, and how the scores lie."""
        from congrad.showing.notebook import as_html  # a program that is no notebook needs none of it

        return as_html(self.decisions, self.direction)


class Selecting:
    """A selection as a call means it, and as its requests say it.

    A fraction within languages or the request is taken over the whole call: the requests then only score.
    """

    def __init__(self, selection: SelectionLike | None):
        """:raises ValueError: it is none."""
        self._own: wire.FractionSelection | None = None
        self.of_requests = selection
        parsed = wire.ThresholdSelection() if selection is None else chosen(selection)
        if isinstance(parsed, wire.FractionSelection) and parsed.within != "stream":
            self._own, self.of_requests = parsed, None

    @property
    def is_of_the_whole(self) -> bool:
        """Whether it needs all samples before it can say anything of one."""
        return self._own is not None

    def refuse_whole(self) -> None:
        """:raises ValueError: the selection is of the whole."""
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
                language=_normalised(str(row.get("language", ""))),
                keep=keep,
                conflict_score=None,
                conflicts_with=[],
                truncated=False,
                reason=wire.Reason.UNAVAILABLE,
            )
            for row in pairs.rows
        ]


def _normalised(tag: str) -> str:
    """As the service would have answered, so that counts by language agree."""
    try:
        return normalise_language(tag)
    except ValueError:
        return tag


class Answers:
    """What came of a call's samples, in their order."""

    def __init__(self, fallback: Fallback):
        self._fallback = fallback
        self._decisions: list[wire.Decision | None] = []
        self._undecided: list[int] = []
        self._error: CongradError | None = None
        self._direction: wire.DirectionRef | None = None
        self.job_ids: list[str] = []
        self.parts: list[Part] = []

    @property
    def has_failed(self) -> bool:
        """Whether a request has ended the call: no further ones are sent."""
        return self._error is not None

    def add(self, part: Part) -> None:
        """The next part."""
        self.parts.append(part)
        pairs, outcome = part
        if not isinstance(outcome, CongradError):
            self._decisions += outcome.decisions
            self.job_ids.append(outcome.job_id)
            # Requests that are in flight together are committed in any order.
            if self._direction is None or outcome.direction.version >= self._direction.version:
                self._direction = outcome.direction
            return
        self._undecided += pairs.positions
        try:
            self._decisions += self._fallback.decide_or_raise(pairs, outcome)
        except CongradError as error:
            self._error = self._error or error
            self._decisions += [None] * len(pairs)

    def result(self, count: int, selecting: Selecting, *, is_scored: bool) -> Filtered:
        """The answer to all samples.

        :param count: of the samples, those of requests that were not sent included.
        :param is_scored: whether the decisions are what was asked for, and not those of a first pass.
        :raises CongradError: the first one, with the decisions that there are, and the positions without one.
        """
        if self._error is not None:
            raise self._failure(self._error, count, is_scored and not selecting.is_of_the_whole)
        decisions = selecting.apply([decision for decision in self._decisions if decision is not None])
        return Filtered(decisions, self._direction, self.job_ids, self._undecided)

    def _failure(self, error: CongradError, count: int, are_final: bool) -> CongradError:
        if are_final:
            never_sent = range(len(self._decisions), count)
            error.decisions = [*self._decisions, *(None for _ in never_sent)]
            error.undecided = [*self._undecided, *never_sent]
        else:  # what is kept depends on scores that are missing
            error.decisions, error.undecided = [None] * count, range(count)
        done = count - len(error.undecided)
        error.add_note(f"{done} of {count} samples have decisions: see .decisions and .undecided")
        return error
