"""`GET /events`, under a real server: the tests do the workers' part."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from congrad.contract import wire
from congrad.contract.tokens import Role
from congrad_service.jobs import feed, job_summaries
from congrad_service.jobs.feed import LISTED, MOST, PAUSE_S, Onlooker
from congrad_worker.tasks.store import Store
from support.serving import compute, served, settle, submit
from support.tokens import bearer, write_tokens

Feed = AsyncIterator[wire.JobSummary]


async def told(response: httpx.Response) -> Feed:
    """The jobs of a stream, which names each event and says nothing else."""
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.aiter_lines()
    async for line in lines:
        if line == "event: job":
            yield wire.JobSummary.model_validate_json((await anext(lines)).removeprefix("data: "))
        else:
            assert line in ("", ": ping")


@asynccontextmanager
async def looking(client: httpx.AsyncClient, **headers: str) -> AsyncIterator[Feed]:
    async with client.stream("GET", "/events", headers=headers) as response:
        yield told(response)


async def until(stream: Feed, status: str, job_id: str) -> list[tuple[str, str]]:
    """Ids and states as they come, up to this one."""
    seen = []
    async for job in stream:
        seen.append((job.id, str(job.status)))
        if seen[-1] == (job_id, status):
            break
    return seen


def test_the_latest_jobs_come_at_once_and_then_each_change(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "POLL_S", 600)  # nothing is found by looking

    async def watch() -> None:
        async with served(redis_url, chunk_tokens=1) as (client, _):
            earlier = [await submit(client, ["de"]) for _ in range(3)]
            async with looking(client) as stream:
                assert [(await anext(stream)).id for _ in range(3)] == earlier
                job_id = await submit(client, ["de", "fr"])
                seen = [await anext(stream)]
                store.start(job_id, 0)
                seen.append(await anext(stream))
                compute(store, job_id)
                while seen[-1].progress.done < 2:
                    seen.append(await anext(stream))
                settle(store, job_id)
                seen.append(await anext(stream))
            assert {job.id for job in seen} == {job_id}
            assert [job.status for job in seen[:2]] == ["queued", "running"]
            assert seen[-1].status == "succeeded"
            assert seen[-1].model_dump(mode="json") == (await client.get("/jobs")).json()[0]

    asyncio.run(watch())


def test_a_job_that_is_no_longer_among_the_latest_is_told_of_when_it_changes(redis_url: str, store: Store) -> None:
    async def watch() -> None:
        async with served(redis_url) as (client, _):
            oldest, *rest = [await submit(client, ["de"]) for _ in range(LISTED + 1)]
            async with looking(client) as stream:
                assert [(await anext(stream)).id for _ in range(LISTED)] == rest
                store.start(oldest, 0)
                assert await until(stream, "running", oldest) == [(oldest, "running")]

    asyncio.run(watch())


@pytest.mark.usefixtures("store")
def test_tokens_of_two_teams_see_their_own_jobs_only(redis_url: str, tmp_path: Path) -> None:
    tokens = [("nlp", Role.ADMIN, "nlp"), ("vision", Role.ADMIN, "vision"), ("nobody", Role.ADMIN, None)]
    file = write_tokens(tmp_path / "tokens.toml", *tokens)

    async def watch() -> None:
        async with served(redis_url, api_keys_file=file) as (client, _), AsyncExitStack() as streams:
            names = [name for name, _, _ in tokens]
            first: dict[str, str] = {}
            for name in names:
                client.headers.update(bearer(name))
                first[name] = await submit(client, ["de"])
            opened = {name: await streams.enter_async_context(looking(client, **bearer(name))) for name in names}
            for name in names:
                assert await until(opened[name], "queued", first[name]) == [(first[name], "queued")]
            for name in names[::-1]:  # the others are told of nothing meanwhile, or it would come first
                client.headers.update(bearer(name))
                await client.delete(f"/jobs/{first[name]}")
            for name in names:
                assert await until(opened[name], "cancelled", first[name]) == [(first[name], "cancelled")]

    asyncio.run(watch())


def test_redis_is_read_a_few_times_a_second_however_many_jobs_change_and_however_many_look_on(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []
    read = job_summaries.summaries

    async def counted(redis_: Any, ids: Any) -> Any:
        readings.append(len(ids))
        return await read(redis_, ids)

    monkeypatch.setattr(feed, "summaries", counted)
    chunks = 150

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        async with served(redis_url, chunk_tokens=1) as (client, _), AsyncExitStack() as streams:
            job_id = await submit(client, ["de"] * chunks)
            opened = [await streams.enter_async_context(looking(client)) for _ in range(20)]
            for stream in opened:
                await anext(stream)
            begun, before = loop.time(), len(readings)
            for number in range(chunks):
                await asyncio.to_thread(store.complete, job_id, number, b"gradients")
            for stream in opened:
                async for job in stream:
                    if job.progress.done == chunks:
                        break
            assert len(readings) - before <= (loop.time() - begun) / PAUSE_S + 2

    asyncio.run(watch())


def test_a_change_that_nothing_tells_of_is_seen_all_the_same(redis_url: str, store: Store) -> None:
    async def watch() -> None:
        async with served(redis_url) as (client, _):
            job_id = await submit(client, ["de"])
            async with looking(client) as stream:
                await anext(stream)
                with redis.Redis.from_url(redis_url) as connection:
                    connection.client_kill_filter(_type="pubsub")
                    store.start(job_id, 0)
                assert await until(stream, "running", job_id) == [(job_id, "running")]
                newer = await submit(client, ["de"])
                assert await until(stream, "queued", newer) == [(newer, "queued")]

    asyncio.run(watch())


def test_a_reading_that_fails_is_made_up_for(redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read, failures = job_summaries.summaries, [redis.ConnectionError(), redis.TimeoutError()]

    async def failing(redis_: Any, ids: Any) -> Any:
        if failures:
            raise failures.pop()
        return await read(redis_, ids)

    async def watch() -> None:
        async with served(redis_url) as (client, _):
            job_id = await submit(client, ["de"])
            async with looking(client) as stream:
                await anext(stream)
                monkeypatch.setattr(feed, "summaries", failing)
                store.start(job_id, 0)
                assert await until(stream, "running", job_id) == [(job_id, "running")]
        assert not failures

    asyncio.run(watch())


@pytest.mark.usefixtures("store")
def test_who_leaves_is_no_longer_told_of_anything(redis_url: str) -> None:
    async def leave() -> None:
        async with served(redis_url) as (client, state):
            onlookers = state.feed._onlookers
            await submit(client, ["de"])
            for _ in range(3):
                async with looking(client) as stream:
                    await anext(stream)
                    assert len(onlookers) == 1
                async with asyncio.timeout(5):
                    while onlookers:  # noqa: ASYNC110 # nothing tells
                        await asyncio.sleep(0.01)

    asyncio.run(leave())


@pytest.mark.usefixtures("store")
def test_a_quiet_feed_is_kept_alive_by_comments(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("congrad_service.routes.events.PING_S", 0.05)

    async def watch() -> None:
        async with served(redis_url) as (client, _), client.stream("GET", "/events") as response:
            lines = response.aiter_lines()
            assert [await anext(lines) for _ in range(4)] == [": ping", "", ": ping", ""]

    asyncio.run(watch())


def test_what_waits_for_one_who_does_not_read_has_an_end() -> None:
    now = datetime.now(UTC)

    def job(number: int, done: int = 0) -> wire.JobSummary:
        progress = wire.Progress(done=done, total=1)
        return wire.JobSummary(
            id=str(number), status=wire.JobStatus.RUNNING, direction="d", checkpoint="c", samples=1, created=now,
            progress=progress,
        )  # fmt: skip

    async def read() -> list[wire.JobSummary]:
        onlooker = Onlooker(None)
        onlooker.tell(job(number) for number in range(2 * MOST))
        onlooker.tell([job(2 * MOST - 5, done=1)])
        return await onlooker.changes()

    waiting = asyncio.run(read())
    assert len(waiting) == MOST
    assert waiting[-1] == job(2 * MOST - 5, done=1)
    assert waiting[-2] == job(2 * MOST - 1)


@pytest.mark.usefixtures("store")
def test_who_leaves_while_he_is_told_of_many_jobs_is_no_fault_of_the_service(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changes = Onlooker.changes

    async def many(self: Onlooker) -> list[wire.JobSummary]:
        return (await changes(self)) * 20_000  # more than the connection holds

    async def leave() -> None:
        async with served(redis_url) as (client, state):
            await submit(client, ["de"])
            async with looking(client) as stream:
                await anext(stream)
            async with asyncio.timeout(5):
                while state.feed._onlookers:  # noqa: ASYNC110 # nothing tells
                    await asyncio.sleep(0.01)

    monkeypatch.setattr(Onlooker, "changes", many)
    asyncio.run(leave())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
