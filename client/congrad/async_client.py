"""The asynchronous client: the methods of `client.Client`, for asyncio."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from congrad.checkpoints import AsyncCheckpoints
from congrad.contract import wire
from congrad.directions import AsyncDirections
from congrad.errors import CongradError
from congrad.jobs import AsyncJobs, JobLike, ids_of
from congrad.protocol import calls
from congrad.protocol.ahead_async import ahead_async, each, until_failure_async
from congrad.protocol.answers.replies import QUEUE, Reply
from congrad.protocol.base_client import BaseClient, PerProcess, new_policy
from congrad.protocol.calls import Call, HttpRequest, Pause, resumed
from congrad.protocol.connections.certificates import trusted
from congrad.protocol.connections.proxies import async_transport_for
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
from congrad.protocol.requests import SampleLike, Samples, split_async
from congrad.protocol.rescoring import Rescored, Round
from congrad.protocol.results import Fallback, Filtered, Part, timing_of
from congrad.protocol.room import check_room
from congrad.showing.passes import Passes
from congrad.showing.progress import progress_bar
from congrad.workers import AsyncWorkers

T = TypeVar("T")
I = TypeVar("I", bound=Item)  # noqa: E741 # an item
Sent = AsyncGenerator[list[Part]]


class AsyncClient(BaseClient):
    """`Client`, asynchronously: the same parameters and methods. Event loops may use it one after another, as where
    ``asyncio.run`` is called for each batch.

    :param transport: an asynchronous httpx transport to use instead of the network.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: Timeouts | float | None = None,
        max_retries: int | None = None,
        max_downtime: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        policy = new_policy(Policy(), timeout, max_retries, max_downtime)
        super().__init__(base_url, api_key, policy, transport)

    def _connect(self) -> None:
        self._connections = PerProcess(
            lambda: httpx.AsyncClient(
                base_url=self.base_url,
                headers=self._headers,
                transport=self._transport or async_transport_for(self.base_url),
                verify=self._transport is not None or trusted(self.base_url),  # a transport verifies by itself
            ),
            _running_loop,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """See `Client.close`."""
        if not self._is_copy:
            await self._http.aclose()

    @property
    def _http(self) -> httpx.AsyncClient:
        return self._connections.get()

    @property
    def jobs(self) -> AsyncJobs:
        """See `Client.jobs`."""
        return AsyncJobs(self._run, self._follow, self._policy)

    @property
    def directions(self) -> AsyncDirections:
        """See `Client.directions`."""
        return AsyncDirections(self._run, self._policy)

    @property
    def checkpoints(self) -> AsyncCheckpoints:
        """See `Client.checkpoints`."""
        return AsyncCheckpoints(self._run, self._policy)

    @property
    def workers(self) -> AsyncWorkers:
        """See `Client.workers`."""
        return AsyncWorkers(self._run, self._policy)

    async def filter(self, samples: Samples | AsyncIterable[SampleLike], **options: Unpack[FilterOptions]) -> Filtered:
        """See `Client.filter`; ``samples`` may be asynchronous too."""
        if isinstance(samples, AsyncIterable):
            # All of them, as nothing is sent before every sample is known to be one.
            samples = [sample async for sample in samples]
        call = self._filtering(samples, **options)
        await self._run(call.prepared())
        with progress_bar(call.samples, call.progress, call.passes) as advance:
            await self._drive(call.first_pass(), call.concurrency, advance)
            advance.again()
            await self._drive(call.second_pass(), call.concurrency, advance)
            await self._run(call.released())
        return call.result()

    async def rescore(self, jobs: Iterable[JobLike] | JobLike, **options: Unpack[RescoreOptions]) -> Filtered:
        """See `Client.rescore`."""
        call = Rescored(ids_of(jobs), Rescoring(**options), self._policy)
        with progress_bar(call.requests, call.progress) as advance:
            try:
                for one in call.rounds:
                    await self._play(one, advance)
            finally:
                await self._run(call.ended())
        return call.result()

    def filter_stream(
        self,
        samples: Samples | AsyncIterable[SampleLike],
        *,
        on_unavailable: OnUnavailable = "raise",
        **options: Unpack[BatchOptions],
    ) -> AsyncGenerator[wire.Decision]:
        """See `Client.filter_stream`; ``samples`` may be asynchronous too."""
        return self._decisions(self._sent(samples, Batching(**options)), Fallback(on_unavailable))

    def filter_batches(
        self,
        samples: Samples | AsyncIterable[SampleLike],
        *,
        retain: bool = False,
        start: int = 0,
        **options: Unpack[BatchOptions],
    ) -> AsyncGenerator[wire.FilterResult]:
        """See `Client.filter_batches`; ``samples`` may be asynchronous too."""
        return self._results(samples, Batching(**options), start, retain)

    async def queue(self) -> wire.Queue:
        """See `Client.queue`."""
        return await self._run(calls.request(HttpRequest("GET", "/queue"), QUEUE, self._policy))

    async def check_room(self, samples: int, checkpoint: str | None = None) -> int:
        """See `Client.check_room`."""
        return await self._run(check_room(samples, checkpoint, self._policy))

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        return await self._run(calls.probe())

    async def wait_until_ready(self, timeout: float = 600.0) -> None:  # noqa: ASYNC109 # the same as the other client's
        """See `Client.wait_until_ready`."""
        await self._run(calls.until_ready(timeout))

    def _follow(self, job_id: str) -> AsyncGenerator[wire.Job]:
        from congrad.protocol.connections.event_stream import follow_async  # most programs follow no job

        if self._http.is_closed:
            raise CongradError("the client is closed")
        return follow_async(self._http, job_id, self._policy)

    async def _drive(self, stage: Pass[I], concurrency: int, advance: Passes) -> None:
        async with aclosing(self._ahead(each(stage.pending()), stage.send, concurrency)) as outcomes:
            async for parts in outcomes:
                for part in parts:
                    stage.answers.add(part)
                    advance(len(part[0]), timing_of(part))

    async def _play(self, one: Round, advance: Passes) -> None:
        def run(job_id: str) -> Awaitable[wire.FilterResult]:
            return self._run(one.send(job_id))

        async with aclosing(ahead_async(each(one.items), run, one.concurrency)) as outcomes:
            async for _, outcome in outcomes:
                if isinstance(outcome, CongradError):
                    raise outcome
                one.take(outcome)
                advance(1)

    async def _decisions(self, sent: Sent, fallback: Fallback) -> AsyncGenerator[wire.Decision]:
        async with aclosing(sent) as outcomes:
            async for parts in outcomes:
                for pairs, outcome in parts:
                    if isinstance(outcome, CongradError):
                        decisions = fallback.decide_or_raise(pairs, outcome)
                    else:
                        decisions = outcome.decisions
                    for decision in decisions:
                        yield decision

    def _results(
        self,
        samples: Samples | AsyncIterable[SampleLike],
        options: Batching,
        start: int,
        retain: bool,
    ) -> AsyncGenerator[wire.FilterResult]:
        submission = self._submission(options, retain=retain, apart=True)
        failures: list[CongradError] = []
        requests = until_failure_async(split_async(samples, options.batch_size, start), failures)
        return self._drained(self._ahead(requests, submission.send, options.concurrency), failures)

    async def _drained(self, sent: Sent, failures: list[CongradError]) -> AsyncGenerator[wire.FilterResult]:
        async with aclosing(sent) as outcomes:
            async for parts in outcomes:
                for _, outcome in parts:
                    if isinstance(outcome, CongradError):
                        failures.append(outcome)
                    else:
                        yield outcome
        if failures:
            raise failures[0]

    def _sent(self, samples: Samples | AsyncIterable[SampleLike], options: Batching) -> Sent:
        submission = self._submission(options, retain=False)
        return self._ahead(split_async(samples, options.batch_size), submission.send, options.concurrency)

    async def _ahead(self, items: AsyncIterator[I], send: Callable[[I], Call[list[Part]]], concurrency: int) -> Sent:
        def run(item: I) -> Awaitable[list[Part]]:
            return self._run(send(item))

        async with aclosing(ahead_async(items, run, concurrency)) as outcomes:
            async for item, outcome in outcomes:
                yield failed(item, outcome) if isinstance(outcome, CongradError) else outcome

    async def _run(self, call: Call[T]) -> T:
        """Drives a call."""
        outcome: Reply | Exception | None = None
        try:
            while True:
                outcome = await self._outcome(resumed(call, outcome))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _outcome(self, step: HttpRequest | Pause) -> Reply | Exception | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._attempt(step)
        except (httpx.RequestError, CongradError) as error:
            return error

    async def _attempt(self, send: HttpRequest) -> Reply:
        if self._http.is_closed:
            raise CongradError("the client is closed")
        try:
            async with asyncio.timeout(send.timeout):
                response = await self._http.request(
                    send.method, send.path, content=send.content, headers=send.headers, timeout=self._timeout_of(send)
                )
        except TimeoutError:  # httpx's own begins anew with every byte
            raise httpx.ReadTimeout("the answer did not end") from None
        return Reply(response.status_code, response.headers, response.content)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # there is none yet
        return None
