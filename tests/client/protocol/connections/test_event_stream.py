"""A job's events through both clients, and when a lost stream is opened again."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import congrad
import httpx
import pytest
from congrad import AsyncClient, Client
from congrad.contract import wire
from congrad.protocol.connections.event_stream import Reader
from congrad.protocol.policy import Policy
from support.stub_service import Handler, problem

JOB = wire.Job.model_validate(
    {
        "id": "j",
        "status": "queued",
        "direction": "d",
        "samples": 1,
        "created": "2026-01-01T00:00:00Z",
        "progress": {"done": 0, "total": 1},
    }
)
REFUSED = httpx.ConnectError("refused")


def data(status: str) -> str:
    """The job in another state, as an event has it."""
    return JOB.model_copy(update={"status": wire.JobStatus(status)}).model_dump_json()


def stream(*statuses: str) -> httpx.Response:
    """A stream that ends after these states."""
    text = "".join(f"event: {status}\ndata: {data(status)}\n\n: ping\n\n" for status in statuses)
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


class Script:
    """Answers one request after the other; an exception is what becomes of the connection."""

    def __init__(self, *steps: httpx.Response | Exception):
        self.requests: list[httpx.Request] = []
        self._steps = iter(steps)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = next(self._steps)
        if isinstance(step, Exception):
            raise step
        return step


Follow = Callable[..., list[str]]


def follow_sync(handler: Handler, job: wire.Job | str = JOB, **options: Any) -> list[str]:
    with Client("http://service", transport=httpx.MockTransport(handler), **options) as client:
        return [found.status for found in client.jobs.events(job)]


def follow_async(handler: Handler, job: wire.Job | str = JOB, **options: Any) -> list[str]:
    async def run() -> list[str]:
        async with AsyncClient("http://service", transport=httpx.MockTransport(handler), **options) as client:
            return [found.status async for found in client.jobs.events(job)]

    return asyncio.run(run())


@pytest.fixture(params=[follow_sync, follow_async], ids=["sync", "async"])
def follow(request: pytest.FixtureRequest) -> Follow:
    """The states that one of the two clients sees."""
    found: Follow = request.param
    return found


def test_a_job_is_followed_to_its_end_across_a_lost_connection_and_nothing_is_told_twice(follow: Follow) -> None:
    service = Script(stream("queued", "running"), stream("running", "cancelled", "queued"))
    assert follow(service) == ["queued", "running", "cancelled"]
    assert [request.url.path for request in service.requests] == ["/jobs/j/events"] * 2


def test_what_is_the_requests_fault_ends_the_stream_at_once(follow: Follow) -> None:
    service = Script(problem(404))
    with pytest.raises(congrad.NotFoundError) as caught:
        follow(service, "gone")
    assert caught.value.request_id == "r1"
    assert [request.url.path for request in service.requests] == ["/jobs/gone/events"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda: REFUSED, congrad.APIConnectionError),
        (lambda: httpx.ReadTimeout("silence"), congrad.APITimeoutError),
        (lambda: problem(503), congrad.ServerError),
        (lambda: httpx.Response(200, text="<html>sign in first</html>"), congrad.APIResponseError),
        (lambda: stream(), congrad.APIConnectionError),
    ],
    ids=["refused", "silent", "503", "a page", "cut"],
)
def test_what_is_the_services_fault_is_tried_again_and_then_told(
    fault: Callable[[], httpx.Response | Exception], error: type[Exception], follow: Follow
) -> None:
    service = Script(fault(), fault())
    with pytest.raises(error) as caught:
        follow(service, max_retries=1, max_downtime=0)
    assert type(caught.value) is error
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        ({"max_retries": 0, "max_downtime": 0}, 1),
        ({"max_retries": 0, "max_downtime": 1}, 2),  # a third one would come after 1.1 to 1.5 s
    ],
)
def test_a_stream_is_given_up_when_retries_and_downtime_are_used_up(
    options: dict[str, Any], attempts: int, follow: Follow
) -> None:
    service = Script(*[REFUSED] * 5)
    with pytest.raises(congrad.APIConnectionError, match="refused"):
        follow(service, **options)
    assert len(service.requests) == attempts


def pauses(reader: Reader, errors: Iterable[Exception]) -> list[float]:
    return [reader.pause(error) for error in errors]


def test_downtime_is_waited_out_beyond_the_retries_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    found = pauses(Reader(Policy(max_retries=1, max_downtime=60)), [REFUSED] * 20)
    assert max(found) <= 8
    assert [record.message for record in caplog.records] == [
        "the stream of events was lost: refused; waiting for the service to come back"
    ]


def test_an_event_ends_a_row_of_losses_even_if_it_brings_no_news() -> None:
    reader = Reader(Policy(max_retries=2, max_downtime=0))
    assert reader.news(data("queued")) is not None
    for _ in range(3):
        pauses(reader, [REFUSED] * 2)
        assert reader.news(data("queued")) is None
    pauses(reader, [REFUSED] * 2)
    with pytest.raises(congrad.APIConnectionError):
        reader.pause(REFUSED)
