"""Many at once: requests that make jobs, and those who watch one."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from congrad.contract import wire
from congrad_service.edge.server import allow_files
from congrad_service.http.errors import NotFound
from congrad_service.jobs.events import Events
from congrad_service.jobs.watching import Watching
from congrad_worker.tasks.store import Store
from redis.exceptions import ConnectionError as RedisConnectionError
from support.attacks import ServiceProcess, service_process
from support.hands import hands
from support.serving import compute, settle

POSTS = 250
FEW = 60
WATCHERS = 350
"""Of each kind."""

PAIR = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
ASYNC = "Prefer: respond-async\r\n"


@pytest.fixture
def running(redis_url: str) -> Iterator[ServiceProcess]:
    """A service with an empty Redis; the process has room for those who ask it."""
    allow_files(POSTS + 2 * WATCHERS)
    with service_process(redis_url) as service:
        yield service


async def ask(running: ServiceProcess, method: str, path: str, headers: str = "", body: Any = None) -> tuple[int, str]:
    """Status and body of an answer, on a connection of its own. Hundreds of these are no work, as httpx's would be."""
    content = "" if body is None else json.dumps(body)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n{headers}\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write((head + content).encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]


async def submitted(running: ServiceProcess) -> str:
    """The id of a new job."""
    status, body = await ask(running, "POST", "/filter", ASYNC, {"samples": [PAIR]})
    assert status == 202
    return str(json.loads(body)["id"])


@pytest.mark.parametrize("count", [FEW, pytest.param(POSTS, marks=pytest.mark.slow)])
def test_each_of_many_requests_at_once_gets_its_own_answer(count: int, running: ServiceProcess, redis_url: str) -> None:
    async def post() -> list[tuple[int, str]]:
        bodies = [{"samples": [PAIR | {"id": f"pair-{number}"}]} for number in range(count)]
        return await asyncio.gather(*(ask(running, "POST", "/filter", body=body) for body in bodies))

    with hands(redis_url):
        answers = asyncio.run(post())
    assert Counter(status for status, _ in answers) == {200: count}
    results = [json.loads(body) for _, body in answers]
    assert [result["decisions"][0]["id"] for result in results] == [f"pair-{number}" for number in range(count)]
    assert sorted(result["direction"]["version"] for result in results) == list(range(1, count + 1))


@pytest.mark.slow  # 60: the test above
def test_700_who_watch_one_job_all_see_its_end(running: ServiceProcess, store: Store) -> None:
    async def watch() -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        job_id = await submitted(running)
        waits = [ask(running, "GET", f"/jobs/{job_id}", "Prefer: wait=120\r\n") for _ in range(WATCHERS)]
        streams = [ask(running, "GET", f"/jobs/{job_id}/events") for _ in range(WATCHERS)]
        watching = asyncio.gather(asyncio.gather(*waits), asyncio.gather(*streams))
        await asyncio.to_thread(running.wait_for_files, lambda files: files > 2 * WATCHERS)
        await asyncio.to_thread(compute, store, job_id)
        await asyncio.to_thread(settle, store, job_id)
        return await watching

    waited, streamed = asyncio.run(watch())
    assert Counter(status for status, _ in waited + streamed) == {200: 2 * WATCHERS}
    assert {json.loads(body)["status"] for _, body in waited} == {"succeeded"}
    assert {"event: succeeded" in body for _, body in streamed} == {True}


class Reads:
    """Counts the readings of a job, and answers as the test says."""

    def __init__(self) -> None:
        self.count = 0
        self.fails: Exception | None = None
        self.job = wire.Job.model_validate(
            {
                "id": "0" * 32,
                "status": "queued",
                "direction": "default",
                "samples": 1,
                "created": 0,
                "progress": {"done": 0, "total": 1},
            }
        )

    async def __call__(self) -> wire.Job:
        self.count += 1
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        return self.job

    def become(self, status: wire.JobStatus) -> None:
        self.job = self.job.model_copy(update={"status": status})


def watching() -> tuple[Events, Watching, Reads]:
    events = Events(None)  # type: ignore[arg-type] # it listens to nothing here
    return events, Watching(events), Reads()


@pytest.mark.parametrize(("follows", "most"), [(True, 4), (False, 3)])
def test_a_job_is_read_once_for_all_who_watch_it_at_each_change_that_one_of_them_follows(
    follows: bool, most: int
) -> None:
    events, rooms, read = watching()

    async def one() -> str:
        async with rooms.of(None, read.job.id, read, follows) as watch:
            reading = await watch.now()
            while not reading.is_final:
                reading = await watch.after(reading, 60)
            return reading.job.status

    async def all_of_them() -> list[str]:
        watchers = [asyncio.create_task(one()) for _ in range(100)]
        for status in ("running", "succeeded"):
            await asyncio.sleep(0.05)
            read.become(wire.JobStatus(status))
            events._on_change(read.job.id, read.job.status)
        return await asyncio.gather(*watchers)

    assert asyncio.run(all_of_them()) == ["succeeded"] * 100
    assert read.count <= most  # the first, one for those who came during it, and each change or the end
    assert not rooms._watches


def test_who_asks_sees_what_was_true_when_he_asked_though_another_watches_for_long() -> None:
    _, rooms, read = watching()

    async def ask_twice() -> list[str]:
        async with rooms.of(None, read.job.id, read, follows=True) as watch:
            await watch.now()
            read.become(wire.JobStatus.CANCELLED)  # and nothing tells of it
            async with rooms.of(None, read.job.id, read, follows=True) as other:
                return [(await other.now()).job.status]

    assert asyncio.run(ask_twice()) == ["cancelled"]


def test_a_reading_that_fails_is_every_watchers_and_the_next_one_may_succeed() -> None:
    _, rooms, read = watching()

    async def watch_on() -> None:
        async with rooms.of(None, read.job.id, read, follows=True) as watch:
            for error in (RedisConnectionError("gone"), NotFound("there is no such job")):
                read.fails = error
                with pytest.raises(type(error)):
                    _ = (await watch.now()).job
            # Not found is the end of it; whoever comes now asks anew.
            read.fails = None
            async with rooms.of(None, read.job.id, read, follows=True) as other:
                assert (await other.now()).job.status == "queued"

    asyncio.run(watch_on())


def test_teams_do_not_share_readings() -> None:
    _, rooms, own = watching()
    foreign = Reads()
    foreign.fails = NotFound("there is no such job")

    async def watch() -> None:
        async with (
            rooms.of("a", own.job.id, own, follows=True) as first,
            rooms.of("b", own.job.id, foreign, follows=True) as second,
        ):
            assert (await first.now()).job.status == "queued"
            with pytest.raises(NotFound):
                _ = (await second.now()).job

    asyncio.run(watch())
