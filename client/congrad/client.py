"""The client of the HTTP contract; `async_client` has its asynchronous twin."""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import chain
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from congrad.checkpoints import Checkpoints
from congrad.contract import wire
from congrad.directions import Directions
from congrad.errors import CongradError
from congrad.jobs import JobLike, Jobs, ids_of
from congrad.protocol import calls
from congrad.protocol.ahead import ahead, until_failure
from congrad.protocol.answers.replies import QUEUE, Reply
from congrad.protocol.base_client import BaseClient, PerProcess, new_policy
from congrad.protocol.calls import Call, HttpRequest, Pause, resumed
from congrad.protocol.connections.certificates import trusted
from congrad.protocol.connections.proxies import transport_for
from congrad.protocol.filtering import Item, Pass, failed
from congrad.protocol.options import (
    Batching,
    BatchOptions,
    FilterOptions,
    OnUnavailable,
    RescoreOptions,
    Rescoring,
)
from congrad.protocol.policy import Policy, Timeouts
from congrad.protocol.requests import Samples, split
from congrad.protocol.rescoring import Rescored, Round
from congrad.protocol.results import Fallback, Filtered, Part, timing_of
from congrad.protocol.room import check_room
from congrad.showing.passes import Passes
from congrad.showing.progress import progress_bar
from congrad.workers import Workers

T = TypeVar("T")
I = TypeVar("I", bound=Item)  # noqa: E741 # an item
Sent = Generator[list[Part]]


class Client(BaseClient):
    """A connection to a CONGRAD service. Threads may share it.

    :param base_url: default ``CONGRAD_BASE_URL``, else ``http://127.0.0.1:8000``.
    :param api_key: default ``CONGRAD_API_KEY``, else none.
    :param timeout: `Timeouts`, or seconds in all; default ``Timeouts(connect=5, attempt=60, total=600)``.
    :param max_retries: further attempts after connection errors, timeouts, 408, 429 and 5xx, with exponential backoff
        or as long as ``Retry-After`` says; default 2. All attempts have one Idempotency-Key, and are folded in once.
    :param max_downtime: seconds after the first failure for which requests of pairs are tried again even when
        ``max_retries`` are used up, so that a restart of the service is no error; default 60. Once that was in vain,
        the client does not wait again before the service is ready.
    :param transport: an httpx transport to use instead of the network.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: Timeouts | float | None = None,
        max_retries: int | None = None,
        max_downtime: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ):
        policy = new_policy(Policy(), timeout, max_retries, max_downtime)
        super().__init__(base_url, api_key, policy, transport)

    def _connect(self) -> None:
        self._connections = PerProcess(
            lambda: httpx.Client(
                base_url=self.base_url,
                headers=self._headers,
                transport=self._transport or transport_for(self.base_url),
                verify=self._transport is not None or trusted(self.base_url),  # a transport verifies by itself
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; a client of `with_options` leaves them to the one that it was made of."""
        if not self._is_copy:
            self._http.close()

    @property
    def _http(self) -> httpx.Client:
        return self._connections.get()

    @property
    def jobs(self) -> Jobs:
        """Jobs: submitted, waited for, followed, cancelled, scored again."""
        return Jobs(self._run, self._follow, self._policy)

    @property
    def directions(self) -> Directions:
        """Running directions: listed, shown, reset, exported, imported."""
        return Directions(self._run, self._policy)

    @property
    def checkpoints(self) -> Checkpoints:
        """What the live workers serve: listed where it is called, as ``client.checkpoints()``; and published, in the
        place of what they serve."""
        return Checkpoints(self._run, self._policy)

    @property
    def workers(self) -> Workers:
        """How the live workers are doing: listed where it is called, as ``client.workers()``; put to sleep, woken."""
        return Workers(self._run, self._policy)

    def filter(self, samples: Samples, **options: Unpack[FilterOptions]) -> Filtered:
        """Scores samples and says which to keep: preference pairs, or prompts with one completion each.

        :param samples: `Sample` or `PromptCompletion`, mappings with their fields, or a `datasets.Dataset`, of whose
            columns only those are sent. A `PromptCompletion` needs workers with ``CONGRAD_LOSS=sft``, or ``kto`` where
            it has a label. A sample's id defaults to its position; within one request ids have to differ.
        :param options: any of `FilterOptions`: ``direction``, ``selection``, ``two_pass``, ``retain``, ... A fraction
            within languages or the request is taken over all samples of the call.
        :raises ValueError: an option cannot be.
        :raises InvalidSampleError: a sample cannot be sent; nothing has been sent then.
        :raises CongradError: one of the tree in `congrad.errors`, with what is decided and what is not.
        """
        call = self._filtering(samples, **options)
        self._run(call.prepared())
        with progress_bar(call.samples, call.progress, call.passes) as advance:
            self._drive(call.first_pass(), call.concurrency, advance)
            advance.again()
            self._drive(call.second_pass(), call.concurrency, advance)
            self._run(call.released())
        return call.result()

    def rescore(self, jobs: Iterable[JobLike] | JobLike, **options: Unpack[RescoreOptions]) -> Filtered:
        """Asks again about samples whose gradients are kept: no gradient is computed, and no GPU needed.

        :param jobs: one, or several of one checkpoint, that were sent with ``retain``, as `Filtered.retained` has them.
        :param options: any of `RescoreOptions`.
        :raises ValueError: an option cannot be.
        :raises ConflictError: gradients of one of them were not kept, or no longer.
        """
        call = Rescored(ids_of(jobs), Rescoring(**options), self._policy)
        with progress_bar(call.requests, call.progress) as advance:
            try:
                for one in call.rounds:
                    self._play(one, advance)
            finally:
                self._run(call.ended())
        return call.result()

    def filter_stream(
        self,
        samples: Samples,
        *,
        on_unavailable: OnUnavailable = "raise",
        **options: Unpack[BatchOptions],
    ) -> Generator[wire.Decision]:
        """Yields decisions in the order of the samples, as they come; see `filter`.

        Takes no more of ``samples``, which may have no end, than ``concurrency`` requests need. Where it has to wait
        for samples, decisions that are ready wait too. Where ``samples`` raises, that comes after the decisions before.

        :param on_unavailable: as in `FilterOptions`.
        :param options: any of `BatchOptions`.
        :raises ValueError: the selection ranks all samples of a call.
        """
        return self._decisions(self._sent(samples, Batching(**options)), Fallback(on_unavailable))

    def filter_batches(
        self,
        samples: Samples,
        *,
        retain: bool = False,
        start: int = 0,
        **options: Unpack[BatchOptions],
    ) -> Generator[wire.FilterResult]:
        """Yields the answer to each request, in the order of the samples; see `filter`.

        Where a request fails, no further ones are sent, and what comes of those under way is yielded before the error
        is raised. Where the service refuses some samples of one, the others are sent without them.

        :param retain: keep the gradients of each job, so that it can be scored again with ``jobs.rescore``.
        :param start: the position of the first sample, where a call goes on where an earlier one stopped.
        :param options: any of `BatchOptions`.
        :raises ValueError: the selection ranks all samples of a call.
        """
        return self._results(samples, Batching(**options), start, retain)

    def queue(self) -> wire.Queue:
        """What waits, of all teams: unfinished jobs, and tasks that no worker has taken up."""
        return self._run(calls.request(HttpRequest("GET", "/queue"), QUEUE, self._policy))

    def check_room(self, samples: int, checkpoint: str | None = None) -> int:
        """Bytes of Redis that two passes over so many samples take up at most, until the second one has scored them.

        :param checkpoint: name or fingerprint, where the service has workers for several.
        :raises NoRoomError: there is less.
        """
        return self._run(check_room(samples, checkpoint, self._policy))

    def is_ready(self) -> bool:
        """Whether the service, Redis and its workers are there, asked once."""
        return self._run(calls.probe())

    def wait_until_ready(self, timeout: float = 600.0) -> None:
        """Waits until the service, Redis and its workers are there.

        :raises APITimeoutError: they are not within ``timeout`` seconds.
        """
        self._run(calls.until_ready(timeout))

    def _follow(self, job_id: str) -> Generator[wire.Job]:
        from congrad.protocol.connections.event_stream import follow  # most programs follow no job

        if self._http.is_closed:
            raise CongradError("the client is closed")
        # The stream looks the connections up when it is opened: in a forked process they are others.
        return follow(self._http, job_id, self._policy)

    def _drive(self, stage: Pass[I], concurrency: int, advance: Passes) -> None:
        # Closed at once when something is raised here, Ctrl-C included: threads would go on sending until it is
        # collected.
        with closing(self._ahead(stage.pending(), stage.send, concurrency)) as outcomes:
            for parts in outcomes:
                for part in parts:
                    stage.answers.add(part)
                    advance(len(part[0]), timing_of(part))

    def _play(self, one: Round, advance: Passes) -> None:
        def run(job_id: str, gone: threading.Event) -> wire.FilterResult:
            return self._run(one.send(job_id), gone)

        with closing(ahead(one.items, run, one.concurrency, self._longest)) as outcomes:
            for _, outcome in outcomes:
                if isinstance(outcome, CongradError):
                    raise outcome
                one.take(outcome)
                advance(1)

    def _decisions(self, sent: Sent, fallback: Fallback) -> Generator[wire.Decision]:
        with closing(sent) as outcomes:
            for pairs, outcome in chain.from_iterable(outcomes):
                if isinstance(outcome, CongradError):
                    yield from fallback.decide_or_raise(pairs, outcome)
                else:
                    yield from outcome.decisions

    def _results(self, samples: Samples, options: Batching, start: int, retain: bool) -> Generator[wire.FilterResult]:
        submission = self._submission(options, retain=retain, apart=True)
        failures: list[CongradError] = []
        requests = until_failure(split(samples, options.batch_size, start), failures)
        return self._drained(self._ahead(requests, submission.send, options.concurrency), failures)

    def _drained(self, sent: Sent, failures: list[CongradError]) -> Generator[wire.FilterResult]:
        with closing(sent) as outcomes:
            for _, outcome in chain.from_iterable(outcomes):
                if isinstance(outcome, CongradError):
                    failures.append(outcome)
                else:
                    yield outcome
        if failures:
            raise failures[0]

    def _sent(self, samples: Samples, options: Batching) -> Sent:
        submission = self._submission(options, retain=False)
        return self._ahead(split(samples, options.batch_size), submission.send, options.concurrency)

    def _ahead(self, items: Iterable[I], send: Callable[[I], Call[list[Part]]], concurrency: int) -> Sent:
        def run(item: I, gone: threading.Event) -> list[Part]:
            return self._run(send(item), gone)

        with closing(ahead(items, run, concurrency, self._longest)) as outcomes:
            for item, outcome in outcomes:
                yield failed(item, outcome) if isinstance(outcome, CongradError) else outcome

    def _run(self, call: Call[T], gone: threading.Event | None = None) -> T:
        """Drives a call.

        :param gone: set when nobody wants the result any more.
        """
        outcome: Reply | Exception | None = None
        try:
            while True:
                outcome = self._outcome(resumed(call, outcome), gone)
        except StopIteration as end:
            result: T = end.value
            return result

    def _outcome(self, step: HttpRequest | Pause, gone: threading.Event | None) -> Reply | Exception | None:
        if isinstance(step, Pause):
            if gone is None:
                time.sleep(step.seconds)
            # A thread that nobody waits for any more must not sleep a pause out, and then send.
            elif gone.wait(step.seconds):
                raise CongradError("the call was given up")
            return None
        try:
            return self._attempt(step)
        except (httpx.RequestError, CongradError) as error:
            return error

    def _attempt(self, send: HttpRequest) -> Reply:
        if self._http.is_closed:
            raise CongradError("the client is closed")
        deadline = time.monotonic() + send.timeout
        chunks = []
        with self._http.stream(
            send.method, send.path, content=send.content, headers=send.headers, timeout=self._timeout_of(send)
        ) as response:
            for chunk in response.iter_bytes():
                chunks.append(chunk)
                # httpx's own timeout begins anew with every byte.
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer did not end", request=response.request)
        return Reply(response.status_code, response.headers, b"".join(chunks))
