"""A call of `filter`: its requests, in one pass or two, and what becomes of their answers. Without input or output."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Generic, TypeGuard, TypeVar

from congrad.contract import wire
from congrad.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    CongradError,
    ContentTooLargeError,
)
from congrad.protocol.answers.classify import is_unavailable
from congrad.protocol.answers.replies import JOB
from congrad.protocol.calls import Call, HttpRequest, decide, job_path, probe, request
from congrad.protocol.options import Batching, Options
from congrad.protocol.policy import Policy
from congrad.protocol.requests import Pairs, Samples, rescore_request, rows_of, split
from congrad.protocol.results import Answers, Fallback, Filtered, Part, Selecting
from congrad.protocol.room import check_room

MOST_NAMED = 50
"""Faults in one answer of the service, at most."""


@dataclass
class Availability:
    """Whether a client has waited for its service in vain. It does not wait again before the service is ready: not for
    the other requests of a call, and not in the next call, or a training loop would stand still at every step."""

    is_given_up: bool = False


class Submission:
    """Sends the pairs of one call.

    :param retain: whether their gradients are kept, to be scored again.
    :param keeps: whether they still are after that.
    :param apart: whether samples that the service refuses are taken out, and the others of their request sent again.
    """

    def __init__(
        self,
        options: Options,
        policy: Policy,
        availability: Availability,
        *,
        retain: bool,
        keeps: bool = False,
        apart: bool = False,
    ):
        self._options = options
        # One key for the whole call, made once: a request that is tried again is then the same, and folded in once.
        self._key = options.idempotency_key or uuid.uuid4().hex
        self._policy = policy
        self._availability = availability
        self._retain = retain
        self._keeps = keeps
        self._apart = apart

    def send(self, pairs: Pairs) -> Call[list[Part]]:
        """What comes of some pairs, in more than one part where the service takes only smaller requests."""
        parts = yield from self._parts(pairs, pairs.request(self._options, self._key, self._retain))
        ((_, outcome),) = parts
        if self._apart and _names_few(outcome, pairs):
            others, refused = pairs.without(outcome.samples)
            return [*(yield from self.send(others)), (refused, outcome)]
        if not isinstance(outcome, ContentTooLargeError) or len(pairs) == 1:
            return parts
        # Nothing of the refused whole was folded in, and each half is a request with a key of its own.
        first, second = pairs.cut(len(pairs) // 2)
        return [*(yield from self.send(first)), *(yield from self.send(second))]

    def rescore(self, part: Part) -> Call[list[Part]]:
        """What comes of scoring a part again against the direction as it stands now; a failure stays one."""
        pairs, result = part
        if isinstance(result, CongradError):
            return [part]
        request = rescore_request(result.job_id, key=self._key, retain=self._keeps, selection=self._options.selection)
        return (yield from self._parts(pairs, request))

    def _parts(self, pairs: Pairs, request: HttpRequest) -> Call[list[Part]]:
        try:
            if self._availability.is_given_up and not (yield from probe()):
                raise APIConnectionError("the service is still away")
            result = yield from decide(request, self._policy, self._policy.max_downtime)
            _check_answer(pairs, result)
        except CongradError as error:
            # Threads write it without a lock. The last word counts, and a wrong one costs a probe.
            self._availability.is_given_up = is_unavailable(error)
            if isinstance(error, APIStatusError):
                error.samples = [pairs.positions[index] for index in error.samples if index < len(pairs)]
            return [(pairs, error)]
        self._availability.is_given_up = False
        return [(pairs, result)]


def _names_few(outcome: wire.FilterResult | CongradError, pairs: Pairs) -> TypeGuard[APIStatusError]:
    """Whether the service refuses a request for some of its samples, and says for which."""
    if not isinstance(outcome, APIStatusError) or outcome.status != HTTPStatus.UNPROCESSABLE_ENTITY:
        return False
    # It names no more than so many, and a request that is wrong as a whole names all of them.
    return 0 < len(outcome.samples) <= len(pairs) // 2 and len(outcome.samples) < MOST_NAMED


def _check_answer(pairs: Pairs, result: wire.FilterResult) -> None:
    """:raises APIResponseError: the decisions are those of other pairs, as where two processes share a connection."""
    if [decision.id for decision in result.decisions] != [row["id"] for row in pairs.rows]:
        raise APIResponseError("an answer has decisions for other samples than were sent", 200, "")


Item = Pairs | Part
"""What a pass sends: pairs, or what came of them in the first one."""

I = TypeVar("I", bound=Item)  # noqa: E741 # an item


def failed(item: Item, error: CongradError) -> list[Part]:
    """What came of an item for which nothing came back."""
    return [(item if isinstance(item, Pairs) else item[0], error)]


@dataclass(frozen=True)
class Pass(Generic[I]):
    """One pass over the pairs of a call: ``send`` each of ``items``, and ``take`` what comes of it."""

    items: Sequence[I]
    send: Callable[[I], Call[list[Part]]]
    answers: Answers

    def pending(self) -> Iterator[I]:
        """The items to send, until a request fails."""
        # Lazy: whether a request has failed is looked at anew before each item.
        return (item for item in self.items if not self.answers.has_failed)


class Filtering:
    """One call of `filter`. ``concurrency`` and ``progress`` are for the client that drives it.

    :raises CongradError: a sample cannot be sent; nothing has been sent then.
    """

    def __init__(
        self,
        samples: Samples,
        options: Batching,
        policy: Policy,
        availability: Availability,
        *,
        two_pass: bool,
        retain: bool,
        fallback: Fallback,
        progress: bool | None,
    ):
        if two_pass and not options.update:
            raise ValueError("two_pass folds the samples in, and update=False does not")
        self._selecting = Selecting(options.selection)
        options = replace(options, selection=self._selecting.of_requests)
        # All of them before the first is sent: a sample that cannot be would leave those before it folded in.
        self.pairs = list(split(samples, options.batch_size))
        self.concurrency = options.concurrency
        self.progress = progress
        self._options = options
        self._policy = policy
        self._availability = availability
        self._submission = Submission(options, policy, availability, retain=two_pass or retain, keeps=retain)
        self._two_pass = two_pass
        self._retain = retain
        self._retained: list[str] = []
        self._fallback = fallback
        self._answers = Answers(fallback)
        self._is_scored = not two_pass

    @property
    def samples(self) -> int:
        """How many samples the call has."""
        return sum(len(pairs) for pairs in self.pairs)

    @property
    def passes(self) -> int:
        """How often each sample is sent or scored."""
        return 2 if self._two_pass else 1

    def prepared(self) -> Call[None]:
        """Finds out whether there is room for two passes. One request is looked at by the service before it is taken.

        :raises NoRoomError: there is none.
        """
        if self._two_pass and len(self.pairs) > 1 and not self._availability.is_given_up:
            with suppress(APIConnectionError, APIStatusError):  # whose turn it is to be told of comes with the requests
                is_again = self._options.idempotency_key is not None
                yield from check_room(self.samples, self._options.checkpoint, self._policy, is_again=is_again)

    def released(self) -> Call[None]:
        """Frees the gradients of a call whose two passes have failed, unless it can be made again under its key."""
        if not self._two_pass or not self._answers.has_failed or self._options.idempotency_key is not None:
            return
        of_first = self._retained if self._is_scored else self._answers.job_ids
        with suppress(APIConnectionError):  # they expire within a day
            for job_id in of_first:
                with suppress(APIStatusError):  # it is scored, and has none any more
                    yield from request(HttpRequest("DELETE", job_path(job_id)), JOB, self._policy)

    def first_pass(self) -> Pass[Pairs]:
        """Sends the pairs."""
        return Pass(self.pairs, self._submission.send, self._answers)

    def second_pass(self) -> Pass[Part]:
        """Scores what the first pass has folded in; nothing to do in a call of one pass, or after a failure."""
        if not self._two_pass or self._answers.has_failed:
            return Pass([], self._submission.rescore, self._answers)
        self._retained = self._answers.job_ids
        parts, self._answers = self._answers.parts, Answers(self._fallback)
        self._is_scored = True
        return Pass(parts, self._submission.rescore, self._answers)

    def result(self) -> Filtered:
        """The answer of the whole call.

        :raises CongradError: a request failed.
        """
        found = self._answers.result(self.samples, self._selecting, is_scored=self._is_scored)
        return replace(found, retained=self._retained or found.job_ids) if self._retain else found


def whole(samples: Samples) -> Pairs:
    """All samples as one request, whatever its size.

    :raises ValueError: there are none.
    """
    rows = list(rows_of(samples))
    if not rows:
        raise ValueError("there are no samples to send")
    return Pairs.of(rows, 0)
