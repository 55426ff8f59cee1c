"""What a call that sends samples takes by keyword, and what it takes where nothing is said: one list for both clients,
for jobs, and for the integrations that hand keywords on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypedDict

from congrad.contract import wire

BATCH_SIZE = 256
CONCURRENCY = 4

SelectionLike = wire.ThresholdSelection | wire.FractionSelection | Mapping[str, Any]
Repeats = Literal["once", "count"]
OnUnavailable = Literal["raise", "keep", "drop"]


class RequestOptions(TypedDict, total=False):
    """The keywords of every call that sends samples."""

    direction: str
    """The running direction to score against; default: ``default``."""
    update: bool
    """Whether the samples are folded into the direction before they are scored; default: they are. One that is in it
    already is not folded in again, and its own part in the direction is taken out of its score in any case."""
    selection: SelectionLike | None
    """Which samples to keep; default: those with a conflict score of at most 0."""
    checkpoint: str | None
    """Name or fingerprint, where the service has workers for several."""
    repeats: Repeats
    """What becomes of a pair that the direction is made of already: it counts ``once`` (the default), or once more
    (``count``), as if it were another."""
    half_life: float | None
    """Samples of a language after which an old one counts half, where the call begins the direction; `math.inf`: all
    count alike. Default: the workers'. A direction keeps that which it began with."""
    aggregator: str | None
    """How language gradients become one direction, likewise; without ``update``, for this call only."""
    idempotency_key: str | None
    """Under one key the same samples are folded in once, also by a call that repeats this one within the hour. One is
    made for each call."""


# `update` stands in each of them: pyright does not see an inherited key that has the name of a method of dict.


class BatchOptions(RequestOptions, total=False):
    """Further keywords of `Client.filter_stream` and `Client.filter_batches`, which send more than one request."""

    update: bool
    """As in `RequestOptions`."""
    batch_size: int
    """Samples in one request, at most; default: 256."""
    concurrency: int
    """Requests in flight; default: 4. With more than one, and ``update``, the order in which they are folded in is not
    always the same."""


class FilterOptions(BatchOptions, total=False):
    """Further keywords of `Client.filter`, which sees all samples before it answers."""

    update: bool
    """As in `RequestOptions`."""
    retain: bool
    """Whether the gradients of all samples are kept for `Client.rescore`, as `Filtered.retained` says; default: no.
    They are for a day, by default."""
    two_pass: bool
    """First fold all samples in, then score all of them against the direction that came of it, from the same gradients;
    default: no. Without, the first ones are scored when little else has been seen."""
    on_unavailable: OnUnavailable
    """What becomes of samples when the service stays away: an error (``raise``, the default), or a decision to ``keep``
    or to ``drop`` them with the reason ``unavailable``, which is logged as a warning."""
    progress: bool | None
    """Whether to show a bar on standard error; default: if that is a terminal."""


class RescoreOptions(TypedDict, total=False):
    """The keywords of `Client.rescore`: what is asked anew. Where nothing is said, it is as it was: the direction that
    the jobs were folded into, as it stands now, under its own aggregator, and a threshold of 0."""

    selection: SelectionLike | None
    """Which samples to keep."""
    aggregator: str | None
    """How language gradients become one direction."""
    languages: Sequence[str] | None
    """Those of the direction's languages that are heard. Samples of others are scored against these."""
    direction: str | None
    """Another direction to score against. With a ``half_life`` the name of one that is made of the jobs and stays."""
    half_life: float | None
    """Samples of a language after which an old one counts half, in a direction that is made anew of the jobs alone, in
    their order; `math.inf`: all count alike."""
    retain: bool
    """Whether the gradients are kept for yet another time; default: they are."""
    concurrency: int
    """Requests in flight; default: 4."""
    progress: bool | None
    """As in `FilterOptions`."""
    idempotency_key: str | None
    """As in `RequestOptions`."""


# A `TypedDict` has no defaults, and lets any key pass while a program runs. These take the same keywords, and refuse
# others with Python's own TypeError.


@dataclass(frozen=True, kw_only=True)
class Options:
    """`RequestOptions` with the defaults of what was not said."""

    direction: str = "default"
    update: bool = True
    selection: SelectionLike | None = None
    checkpoint: str | None = None
    repeats: Repeats = "once"
    half_life: float | None = None
    aggregator: str | None = None
    idempotency_key: str | None = None

    def fields(self, retain: bool) -> dict[str, Any]:
        """What a request says beside its samples, as JSON; what is not said is left to the service."""
        fields: dict[str, Any] = {"direction": self.direction, "update": self.update}
        if self.selection is not None:
            fields["selection"] = as_json(self.selection)
        if self.half_life is not None:
            fields["half_life"] = "inf" if self.half_life == math.inf else self.half_life
        if self.repeats != "once":
            fields["repeats"] = self.repeats
        fields |= {name: value for name in ("checkpoint", "aggregator") if (value := getattr(self, name)) is not None}
        return fields | ({"retain": True} if retain else {})


@dataclass(frozen=True, kw_only=True)
class Batching(Options):
    """`BatchOptions` with the defaults of what was not said."""

    batch_size: int = BATCH_SIZE
    concurrency: int = CONCURRENCY


@dataclass(frozen=True, kw_only=True)
class Rescoring:
    """`RescoreOptions` with the defaults of what was not said."""

    selection: SelectionLike | None = None
    aggregator: str | None = None
    languages: Sequence[str] | None = None
    direction: str | None = None
    half_life: float | None = None
    retain: bool = True
    concurrency: int = CONCURRENCY
    progress: bool | None = None
    idempotency_key: str | None = None


def check_half_life(half_life: float | None) -> None:
    """:raises ValueError: it is none."""
    if half_life is not None and not (isinstance(half_life, Real) and half_life >= wire.SHORTEST):
        raise ValueError(f"half_life is {half_life!r}; it should be at least {wire.SHORTEST} samples, or math.inf")


def as_json(selection: SelectionLike) -> dict[str, Any]:
    """A selection as JSON, whether it is a model of the contract or stands for one."""
    return dict(selection) if isinstance(selection, Mapping) else selection.model_dump(exclude_none=True)
