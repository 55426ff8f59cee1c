"""`GET /jobs/{id}/events`, under a real server: the tests do the workers' part."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest
import redis
from congrad import AsyncClient, Client
from congrad.contract import wire
from congrad.local.redis_server import free_port
from congrad_service import keys
from congrad_service.__main__ import DRAIN_S
from congrad_service.routes import jobs
from congrad_worker.tasks.store import Store
from support.serving import compute, served, settle, submit

Events = AsyncIterator[tuple[str, wire.Job]]


async def events(response: httpx.Response) -> Events:
    """Event names with their jobs, as the HTML standard reads a stream: a blank line ends an event."""
    assert response.headers["content-type"].startswith("text/event-stream")
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            assert name not in fields, "data on more than one line"
            fields[name] = value
        elif fields.keys() == {"event", "data"}:
            yield fields["event"], wire.Job.model_validate_json(fields["data"])
            fields = {}
        else:
            assert fields == {"": "ping"}
            fields = {}


async def rest(stream: Events) -> list[tuple[str, wire.Job]]:
    return [event async for event in stream]


def test_each_change_is_an_event_and_the_last_one_has_the_result(redis_url: str, store: Store) -> None:
    async def watch() -> None:
        async with served(redis_url, chunk_tokens=1) as (client, _):
            job_id = await submit(client, ["de", "fr"])
            async with client.stream("GET", f"/jobs/{job_id}/events") as response:
                stream = events(response)
                seen = [await anext(stream)]
                store.start(job_id, 0)
                seen.append(await anext(stream))
                for number in range(2):
                    store.complete(job_id, number, b"gradients")
                    seen.append(await anext(stream))
                store.fail(job_id, wire.Problem(title="t", status=500, detail="d"))
                seen += await rest(stream)
            progress = [(name, job.status, job.progress.done, job.progress.total) for name, job in seen]
            assert progress == [
                ("queued", "queued", 0, 2),
                ("running", "running", 0, 2),
                ("running", "running", 1, 2),
                ("running", "running", 2, 2),
                ("failed", "failed", 2, 2),
            ]
            error = seen[-1][1].error
            assert error is not None
            assert error.detail == "d"

            job_id = await submit(client, ["de", "fr"])
            async with client.stream("GET", f"/jobs/{job_id}/events") as response:
                stream = events(response)
                await anext(stream)
                compute(store, job_id)
                settle(store, job_id)
                name, job = (await rest(stream))[-1]
            assert name == "succeeded"
            assert job.result is not None
            assert job.model_dump(mode="json") == (await client.get(f"/jobs/{job_id}")).json()

    asyncio.run(watch())


@pytest.mark.usefixtures("store")
def test_a_job_that_has_ended_is_one_event(redis_url: str) -> None:
    async def watch() -> None:
        async with served(redis_url) as (client, _):
            job_id = await submit(client, ["de"])
            await client.delete(f"/jobs/{job_id}")
            async with client.stream("GET", f"/jobs/{job_id}/events") as response:
                assert [name for name, _ in await rest(events(response))] == ["cancelled"]

    asyncio.run(watch())


def test_an_unknown_job_and_a_missing_token_are_problems_before_the_stream_starts(redis_url: str) -> None:
    async def ask() -> None:
        async with served(redis_url, api_key="secret") as (client, _):
            for headers, status in (({}, 401), ({"Authorization": "Bearer secret"}, 404)):
                response = await client.get("/jobs/unknown/events", headers=headers)
                assert response.status_code == status
                assert response.headers["content-type"] == "application/problem+json"

    asyncio.run(ask())


def test_a_quiet_stream_is_kept_alive_by_comments(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PING_S", 0.05)

    async def watch() -> None:
        async with served(redis_url) as (client, _):
            job_id = await submit(client, ["de"])
            async with client.stream("GET", f"/jobs/{job_id}/events") as response:
                lines = response.aiter_lines()
                while await anext(lines) != ": ping":
                    pass
                store.fail(job_id, wire.Problem(title="t", status=500, detail="d"))
                assert [line async for line in lines if line.startswith("event")] == ["event: failed"]

    asyncio.run(watch())


@pytest.mark.usefixtures("store")
def test_a_job_that_is_gone_ends_the_stream_though_nothing_tells_of_it(redis_url: str) -> None:
    async def watch() -> None:
        async with served(redis_url) as (client, _):
            job_id = await submit(client, ["de"])
            async with client.stream("GET", f"/jobs/{job_id}/events") as response:
                stream = events(response)
                await anext(stream)
                with redis.Redis.from_url(redis_url) as connection:
                    connection.delete(keys.job(job_id))
                assert await rest(stream) == []

    asyncio.run(watch())


@pytest.mark.usefixtures("store")
def test_a_client_that_leaves_is_no_longer_waited_for(redis_url: str) -> None:
    async def leave() -> None:
        async with served(redis_url) as (client, state):
            waiting = state.events._waiting
            job_id = await submit(client, ["de"])
            for _ in range(3):
                async with client.stream("GET", f"/jobs/{job_id}/events") as response:
                    await anext(events(response))
                    assert list(waiting) == [job_id]
                async with asyncio.timeout(5):
                    while waiting:  # noqa: ASYNC110 # nothing tells
                        await asyncio.sleep(0.01)

    asyncio.run(leave())


@contextmanager
def service_at(port: int, redis_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the service, which takes a while to begin."""
    environment = os.environ | {"CONGRAD_REDIS_URL": redis_url, "CONGRAD_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "congrad_service"], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("path", ["/jobs/{}/events", "/events"])
@pytest.mark.usefixtures("store")
def test_a_stream_does_not_hold_up_a_service_that_stops(path: str, redis_url: str) -> None:
    port = free_port()

    async def watch(process: subprocess.Popen[bytes]) -> None:
        transport = httpx.AsyncHTTPTransport(retries=8)  # of the connection, at 0.5 s, 1 s, ...: nothing tells
        async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            job_id = await submit(client, ["de"])
            async with client.stream("GET", path.format(job_id)) as response:
                lines = response.aiter_lines()
                assert (await anext(lines)).startswith("event: ")
                process.send_signal(signal.SIGTERM)
                assert [line async for line in lines if line.startswith("event: ")] == []

    with service_at(port, redis_url) as process:
        asyncio.run(watch(process))
        process.wait(DRAIN_S / 2)


def test_both_clients_follow_a_job_across_a_restart_of_the_service_without_any_retries(
    redis_url: str, store: Store
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def follow(client: AsyncClient, other: Client) -> None:
        with service_at(port, redis_url):
            await client.wait_until_ready()
            job = await client.jobs.submit([{"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}])
            stream, of_other = client.jobs.events(job), other.jobs.events(job)
            assert [(await anext(stream)).status, next(of_other).status] == ["queued", "queued"]
        store.fail(job.id, wire.Problem(title="t", status=500, detail="while nobody served"))
        with service_at(port, redis_url):
            for found in [state async for state in stream], list(of_other):
                details = [(state.status, state.error and state.error.detail) for state in found]
                assert details == [("failed", "while nobody served")]

    async def watch() -> None:
        async with AsyncClient(url, max_retries=0) as client:
            with Client(url, max_retries=0) as other:
                await follow(client, other)

    asyncio.run(watch())
