"""A call of `filter`: its requests, in one pass or two, and what becomes of their answers. Without input or output."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from congrad import wire
from congrad.calls import Call, decide, probe
from congrad.classify import is_unavailable
from congrad.errors import APIConnectionError, APIStatusError, CongradError, ContentTooLargeError
from congrad.policy import Policy
from congrad.requests import Options, Pairs, SampleLike, rescore_request, rows_of, split
from congrad.results import Answers, Fallback, Filtered, Outcome, Selecting

Results = list[wire.FilterResult]


@dataclass
class Availability:
    """Whether a client has waited for its service in vain. It does not wait again before the service is ready: not for
    the other requests of a call, and not in the next call, or a training loop would stand still at every step."""

    is_given_up: bool = False


class Submission:
    """Sends the pairs of one call.

    :param key: of the call; each request's own is made from it.
    """

    def __init__(self, options: Options, key: str | None, policy: Policy, availability: Availability):
        self.options = options
        self.key = key or uuid.uuid4().hex
        self._policy = policy
        self._availability = availability

    def send(self, pairs: Pairs) -> Call[Results]:
        """The answer to some pairs: more than one where the service takes only smaller requests.

        :raises CongradError: there is none.
        """
        return self._unless_away(self._decide(pairs))

    def rescore(self, results: Results) -> Call[Results]:
        """Scores what was folded in against the direction as it stands now.

        :raises CongradError: there is no answer.
        """
        return self._unless_away(self._rescore(results))

    def _unless_away(self, call: Call[Results]) -> Call[Results]:
        if self._availability.is_given_up and not (yield from probe()):
            raise APIConnectionError("the service is still away")
        try:
            results = yield from call
        except CongradError as error:
            self._availability.is_given_up = is_unavailable(error)
            raise
        self._availability.is_given_up = False
        return results

    def _decide(self, pairs: Pairs) -> Call[Results]:
        try:
            send = pairs.request(self.options, self.key)
            return [(yield from decide(send, self._policy, self._policy.max_downtime))]
        except ContentTooLargeError:
            if len(pairs) == 1:
                raise
        except APIStatusError as error:
            error.samples = [pairs.start + index for index in error.samples]
            raise
        first, second = pairs.halves()
        return [*(yield from self._decide(first)), *(yield from self._decide(second))]

    def _rescore(self, results: Results) -> Call[Results]:
        again = []
        for result in results:
            send = rescore_request(result.job_id, self.options.selection, False, self.key)
            again.append((yield from decide(send, self._policy, self._policy.max_downtime)))
        return again


@dataclass(frozen=True)
class Pass:
    """One pass over the pairs of a call."""

    pairs: list[Pairs]
    send: Callable[[Pairs], Call[Results]]
    take: Callable[[Pairs, Outcome], None]
    answers: Answers

    def pending(self) -> Iterator[Pairs]:
        """The pairs to send, until a request fails."""
        return (pairs for pairs in self.pairs if not self.answers.has_failed)


class Filtering:
    """One call of `filter`.

    :raises CongradError: a sample cannot be sent; nothing has been sent then.
    """

    def __init__(
        self,
        samples: Iterable[SampleLike],
        options: Options,
        *,
        key: str | None,
        policy: Policy,
        availability: Availability,
        batch_size: int,
        two_pass: bool,
        fallback: Fallback,
    ):
        if two_pass and not options.update:
            raise ValueError("two_pass folds the samples in, and update=False does not")
        self._selecting = Selecting(options.selection)
        options = replace(options, selection=self._selecting.of_requests, retain=two_pass)
        self.pairs = list(split(samples, batch_size))
        self._submission = Submission(options, key, policy, availability)
        self._two_pass = two_pass
        self._fallback = fallback
        self._answers = Answers(fallback)
        self._first: dict[int, Outcome] = {}

    @property
    def samples(self) -> int:
        """How many samples the call has."""
        return sum(len(pairs) for pairs in self.pairs)

    @property
    def passes(self) -> int:
        """How often each sample is sent or scored."""
        return 2 if self._two_pass else 1

    def stages(self) -> Iterator[Pass]:
        """The passes; the second begins when the first is through."""
        yield Pass(self.pairs, self._submission.send, self._take_first, self._answers)
        if self._two_pass and not self._answers.has_failed:
            self._answers = Answers(self._fallback)
            yield Pass(self.pairs, self._send_again, self._answers.add, self._answers)

    def result(self) -> Filtered:
        """The answer of the whole call.

        :raises CongradError: a request failed.
        """
        return self._answers.result(self.pairs, self._selecting)

    def _take_first(self, pairs: Pairs, outcome: Outcome) -> None:
        self._first[pairs.start] = outcome
        self._answers.add(pairs, outcome)

    def _send_again(self, pairs: Pairs) -> Call[Results]:
        outcome = self._first[pairs.start]
        if isinstance(outcome, CongradError):
            raise outcome
        return (yield from self._submission.rescore(outcome))


def whole(samples: Iterable[SampleLike]) -> Pairs:
    """All samples as one request, whatever its size.

    :raises ValueError: there are none.
    """
    rows = list(rows_of(samples))
    if not rows:
        raise ValueError("there are no samples to send")
    return Pairs.of(rows, 0)
