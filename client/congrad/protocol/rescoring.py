"""A call of `rescore`: what is asked again about jobs whose gradients are kept. Without input or output."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from congrad.contract import wire
from congrad.errors import CongradError
from congrad.protocol.ahead import check as check_concurrency
from congrad.protocol.answers.replies import nothing
from congrad.protocol.calls import Call, HttpRequest, decide, request
from congrad.protocol.options import Rescoring, check_half_life
from congrad.protocol.policy import Policy
from congrad.protocol.requests import rescore_request
from congrad.protocol.results import Filtered, Selecting


@dataclass(frozen=True)
class Round:
    """One request for each of some jobs, as many at a time as ``concurrency`` says, and what takes their answers."""

    items: Sequence[str]
    send: Callable[[str], Call[wire.FilterResult]]
    take: Callable[[wire.FilterResult], None]
    concurrency: int


class Rescored:
    """One call: a round that makes a direction of the jobs, where they are to be scored against one of their own, and
    one that scores them."""

    def __init__(self, jobs: Iterable[str], options: Rescoring, policy: Policy):
        self.jobs = list(jobs)
        if not self.jobs:
            raise ValueError("there are no jobs to score again")
        check_half_life(options.half_life)
        check_concurrency(options.concurrency)
        self._options = options
        self._policy = policy
        self._key = options.idempotency_key or uuid.uuid4().hex
        self._selecting = Selecting(options.selection)
        self._is_new = options.half_life is not None
        # A name that the same call has again, so that it goes on where an earlier one stopped.
        digest = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._key} {self.jobs}").hex
        self._direction = options.direction or (f"rescore-{digest}" if self._is_new else None)
        self._folded: list[wire.FilterResult] = []
        self._scored: list[wire.FilterResult] = []

    @property
    def progress(self) -> bool | None:
        """Whether to show a bar."""
        return self._options.progress

    @property
    def requests(self) -> int:
        """How many there are in all."""
        return len(self.jobs) * (2 if self._is_new else 1)

    @property
    def rounds(self) -> list[Round]:
        """In their order; what is folded in is folded in one after the other, as the order counts."""
        scoring = Round(self.jobs, self._score, self._scored.append, self._options.concurrency)
        return [Round(self.jobs, self._fold, self._folded.append, 1), scoring] if self._is_new else [scoring]

    def _fold(self, job_id: str) -> Call[wire.FilterResult]:
        fields: dict[str, Any] = {"direction": self._direction, "update": True, "half_life": self._options.half_life}
        if self._options.aggregator is not None:
            fields["aggregator"] = self._options.aggregator
        return self._ask(job_id, retain=True, **fields)

    def _score(self, job_id: str) -> Call[wire.FilterResult]:
        named = {"aggregator": self._options.aggregator, "languages": self._options.languages}
        fields: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if self._direction is not None:
            fields["direction"] = self._direction
        return self._ask(job_id, retain=self._options.retain, selection=self._selecting.of_requests, **fields)

    def _ask(self, job_id: str, **fields: Any) -> Call[wire.FilterResult]:
        return decide(rescore_request(job_id, key=self._key, **fields), self._policy, self._policy.max_downtime)

    def ended(self) -> Call[None]:
        """Forgets a direction that was made for this call alone; not where the call has failed and can be made again
        under its key, which finds in it what was folded in."""
        is_done = len(self._scored) == len(self.jobs) or self._options.idempotency_key is None
        if self._is_new and self._options.direction is None and is_done:
            forget = HttpRequest("DELETE", f"/directions/{quote(str(self._direction), safe='')}")
            with suppress(CongradError):  # there is none where nothing was folded in
                yield from request(forget, nothing, self._policy)

    def result(self) -> Filtered:
        """The answer of the whole call."""
        decisions = [one for result in self._scored for one in result.decisions]
        if self._is_new:  # in its own direction each has been by now; which of them came again, the first round saw
            first = [one.repeated for result in self._folded for one in result.decisions]
            decisions = [replace(one, repeated=was) for one, was in zip(decisions, first, strict=True)]
        return Filtered(
            decisions=self._selecting.apply(decisions),
            direction=max((result.direction for result in self._scored), key=lambda one: one.version),
            job_ids=[result.job_id for result in self._scored],
            undecided=[],
            retained=self.jobs if self._options.retain else [],
        )
