"""The asynchronous client: the methods of `client.Client`, for asyncio."""

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import httpx

from congrad import calls, wire
from congrad.ahead import ahead_async, each
from congrad.base_client import BATCH_SIZE, CONCURRENCY, BaseClient, new_policy
from congrad.calls import Call, HttpRequest, Pause, Reply
from congrad.directions import AsyncDirections
from congrad.errors import CongradError
from congrad.event_stream import follow_async
from congrad.filtering import Results
from congrad.jobs import AsyncJobs
from congrad.policy import Policy, Timeouts
from congrad.progress import progress_bar
from congrad.requests import Options, Pairs, SampleLike, SelectionLike, split_async
from congrad.results import Fallback, Filtered, OnUnavailable

T = TypeVar("T")
Sent = AsyncGenerator[tuple[Pairs, Results | CongradError]]


class AsyncClient(BaseClient):
    """`Client`, asynchronously: the same parameters and methods.

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
        super().__init__(base_url, api_key, new_policy(Policy(), timeout, max_retries, max_downtime))
        self._http = httpx.AsyncClient(base_url=self.base_url, headers=self._headers, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    def with_options(
        self,
        *,
        timeout: Timeouts | float | None = None,
        max_retries: int | None = None,
        max_downtime: float | None = None,
    ) -> "AsyncClient":
        """See `Client.with_options`."""
        other = copy.copy(self)
        other._policy = new_policy(self._policy, timeout, max_retries, max_downtime)
        return other

    @property
    def jobs(self) -> AsyncJobs:
        """See `Client.jobs`."""
        return AsyncJobs(self._run, lambda job_id: follow_async(self._http, job_id, self._policy), self._policy)

    @property
    def directions(self) -> AsyncDirections:
        """See `Client.directions`."""
        return AsyncDirections(self._run, self._policy)

    async def filter(
        self,
        samples: Iterable[SampleLike] | AsyncIterable[SampleLike],
        *,
        direction: str = "default",
        update: bool = True,
        selection: SelectionLike | None = None,
        checkpoint: str | None = None,
        two_pass: bool = False,
        on_unavailable: OnUnavailable = "raise",
        batch_size: int = BATCH_SIZE,
        concurrency: int = CONCURRENCY,
        progress: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Filtered:
        """See `Client.filter`; ``samples`` may be asynchronous too."""
        if isinstance(samples, AsyncIterable):
            samples = [sample async for sample in samples]
        options = Options(direction, update, selection, checkpoint)
        call = self._filtering(samples, options, idempotency_key, batch_size, two_pass, on_unavailable)
        with progress_bar(call.samples * call.passes, progress) as advance:
            for stage in call.stages():
                sent = ahead_async(each(stage.pending()), partial(self._send, stage.send), concurrency)
                async with aclosing(sent) as outcomes:
                    async for pairs, outcome in outcomes:
                        stage.take(pairs, outcome)
                        advance(len(pairs))
        return call.result()

    def filter_stream(
        self,
        samples: Iterable[SampleLike] | AsyncIterable[SampleLike],
        *,
        direction: str = "default",
        update: bool = True,
        selection: SelectionLike | None = None,
        checkpoint: str | None = None,
        on_unavailable: OnUnavailable = "raise",
        batch_size: int = BATCH_SIZE,
        concurrency: int = CONCURRENCY,
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[wire.Decision]:
        """See `Client.filter_stream`; ``samples`` may be asynchronous too."""
        options = Options(direction, update, selection, checkpoint)
        sent = self._ahead(samples, options, 0, batch_size, concurrency, idempotency_key)
        return self._decisions(sent, Fallback(on_unavailable))

    def filter_batches(
        self,
        samples: Iterable[SampleLike] | AsyncIterable[SampleLike],
        *,
        direction: str = "default",
        update: bool = True,
        selection: SelectionLike | None = None,
        checkpoint: str | None = None,
        retain: bool = False,
        start: int = 0,
        batch_size: int = BATCH_SIZE,
        concurrency: int = CONCURRENCY,
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[wire.FilterResult]:
        """See `Client.filter_batches`; ``samples`` may be asynchronous too."""
        options = Options(direction, update, selection, checkpoint, retain)
        return self._results(self._ahead(samples, options, start, batch_size, concurrency, idempotency_key))

    async def checkpoints(self) -> list[wire.Checkpoint]:
        """See `Client.checkpoints`."""
        return await self._run(calls.request(HttpRequest("GET", "/checkpoints"), calls.CHECKPOINTS, self._policy))

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        return await self._run(calls.probe())

    async def wait_until_ready(self, timeout: float = 600.0) -> None:  # noqa: ASYNC109 # the same as the other client's
        """See `Client.wait_until_ready`."""
        await self._run(calls.until_ready(timeout))

    async def _decisions(self, sent: Sent, fallback: Fallback) -> AsyncGenerator[wire.Decision]:
        async with aclosing(sent) as outcomes:
            async for pairs, outcome in outcomes:
                if isinstance(outcome, CongradError):
                    for decision in fallback.decide_or_raise(pairs, outcome):
                        yield decision
                else:
                    for result in outcome:
                        for decision in result.decisions:
                            yield decision

    async def _results(self, sent: Sent) -> AsyncGenerator[wire.FilterResult]:
        async with aclosing(sent) as outcomes:
            async for _, outcome in outcomes:
                if isinstance(outcome, CongradError):
                    raise outcome
                for result in outcome:
                    yield result

    def _ahead(
        self,
        samples: Iterable[SampleLike] | AsyncIterable[SampleLike],
        options: Options,
        start: int,
        batch_size: int,
        concurrency: int,
        key: str | None,
    ) -> Sent:
        submission = self._submission(options, key)
        requests = split_async(samples, batch_size, start)
        return ahead_async(requests, partial(self._send, submission.send), concurrency)

    async def _send(self, send: Callable[[Pairs], Call[Results]], pairs: Pairs) -> Results:
        return await self._run(send(pairs))

    async def _run(self, call: Call[T]) -> T:
        """Drives a call."""
        try:
            step = next(call)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = call.send(None)
                    continue
                try:
                    reply = await self._attempt(step)
                except httpx.RequestError as error:
                    step = call.throw(error)
                else:
                    step = call.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _attempt(self, send: HttpRequest) -> Reply:
        try:
            async with asyncio.timeout(send.timeout):
                response = await self._http.request(
                    send.method, send.path, content=send.content, headers=send.headers, timeout=self._timeout_of(send)
                )
        except TimeoutError:  # httpx's own begins anew with every byte
            raise httpx.ReadTimeout("the answer did not end") from None
        return Reply(response.status_code, response.headers, response.content)
