"""A Redis that hangs is told from one that is slow: the service over a real Redis, through a proxy that can stop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import redis
from congrad.local.redis_server import free_port
from congrad_service import pulse
from congrad_service.pulse import HeardRedis, Pulse
from congrad_service.state import State
from redis.exceptions import TimeoutError as RedisTimeoutError
from support.serving import served, submit
from support.stopped_proxy import StoppedProxy, stopped_proxy

BODY = {"samples": [{"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}]}
JOB = "/jobs/" + 32 * "0"
ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/filter", BODY),
    ("GET", "/jobs", None),
    ("GET", JOB, None),
    ("DELETE", JOB, None),
    ("GET", f"{JOB}/events", None),
    ("GET", f"{JOB}/samples", None),
    ("POST", f"{JOB}/rescore", {}),
    ("POST", f"{JOB}/retry", None),
    ("GET", "/events", None),
    ("GET", "/directions", None),
    ("GET", "/directions/d", None),
    ("DELETE", "/directions/d", None),
    ("GET", "/directions/d/state", None),
    ("PUT", "/directions/d/state", None),
    ("GET", "/directions/d/scores", None),
    ("GET", "/directions/d/history", None),
    ("GET", "/directions/d/conflicts", None),
    ("GET", "/checkpoints", None),
    ("POST", "/checkpoints", {"model": "/models/next"}),
    ("DELETE", "/checkpoints/f00d", None),
    ("GET", f"/publications/{32 * '0'}", None),
    ("GET", "/workers", None),
    ("POST", "/workers/sleep", {}),
    ("POST", "/workers/wake", {}),
    ("GET", "/queue", None),
    ("GET", "/readyz", None),
]
WITHOUT_REDIS = {"/livez", "/metrics"}

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second or two of silence is enough."""
    monkeypatch.setattr(pulse, "BEAT_S", 0.05)
    monkeypatch.setattr(pulse, "ANSWER_S", 0.4)


@asynccontextmanager
async def through_a_proxy(
    redis_url: str, **options: Any
) -> AsyncIterator[tuple[StoppedProxy, httpx.AsyncClient, State]]:
    async with stopped_proxy(redis_url) as proxy, served(proxy.url, **options) as (client, state):
        assert (await client.get("/readyz")).status_code == 200
        yield proxy, client, state


async def ask(client: httpx.AsyncClient, method: str, path: str, body: Any) -> tuple[httpx.Response, float]:
    """The answer, and how long it took."""
    begun = time.monotonic()
    headers = {"Content-Type": "application/octet-stream"} if method == "PUT" else {}
    content = {"content": b"-"} if method == "PUT" else {} if body is None else {"json": body}
    async with client.stream(method, path, headers=headers, timeout=60, **content) as response:
        if response.status_code == 503:  # a stream would not end
            await response.aread()
        return response, time.monotonic() - begun


async def until_silent(state: State, is_silent: bool = True) -> None:
    async with asyncio.timeout(20):
        while state.redis.pulse.is_silent is not is_silent:  # noqa: ASYNC110 # it tells nobody
            await asyncio.sleep(0.01)


def test_every_route_says_within_ten_seconds_that_redis_hangs(redis_url: str) -> None:
    async def play() -> None:
        options = {"models": "/models", "keep_texts": True, "scale_from_zero": True}
        async with through_a_proxy(redis_url, **options) as (proxy, client, _):
            document = (await client.get("/openapi.json")).json()
            shown = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
            assert len(shown) == len(ROUTES) + len(WITHOUT_REDIS), sorted(shown)
            proxy.stop()
            many = [*ROUTES, *40 * [("GET", JOB, None)]]  # more than there are connections to Redis
            answers = await asyncio.gather(*(ask(client, *route) for route in many))
            for (method, path, _), (response, seconds) in zip(many, answers, strict=True):
                assert response.status_code == 503, (method, path, response.status_code)
                assert response.headers["Content-Type"] == "application/problem+json"
                assert response.headers["Retry-After"] == "5"
                assert "did not answer" in response.json()["detail"]
                assert seconds < 10, (method, path)
            response, seconds = await ask(client, "GET", "/jobs", None)
            assert (response.status_code, seconds < 1) == (503, True), "it is known by now"

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_a_short_pause_is_waited_out(redis_url: str) -> None:
    async def play() -> None:
        async with through_a_proxy(redis_url) as (proxy, client, _):
            proxy.stop()
            asking = [asyncio.create_task(client.get("/jobs")) for _ in range(50)]
            posting = asyncio.create_task(submit(client, ["de"]))
            await asyncio.sleep(0.8)  # it is how long Redis is away
            proxy.go_on()
            assert {(await one).status_code for one in asking} == {200}
            await posting

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_requests_are_taken_again_as_soon_as_redis_answers(redis_url: str) -> None:
    async def play() -> None:
        async with through_a_proxy(redis_url) as (proxy, client, state):
            for _ in range(3):
                proxy.stop()
                asking = [asyncio.create_task(client.post("/filter", json=BODY)) for _ in range(20)]
                assert {(await one).status_code for one in asking} == {503}
                proxy.go_on()
                await until_silent(state, False)
                await submit(client, ["de"])

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_whoever_waits_for_a_job_is_told(redis_url: str) -> None:
    async def play() -> None:
        async with through_a_proxy(redis_url) as (proxy, client, _):
            job_id = await submit(client, ["de"])
            headers = {"Prefer": "wait=15"}
            waiting = asyncio.create_task(client.get(f"/jobs/{job_id}", headers=headers))
            async with client.stream("GET", f"/jobs/{job_id}/events") as stream:
                parts = stream.aiter_bytes()
                await anext(parts)
                proxy.stop()
                assert (await waiting).status_code == 503
                async with asyncio.timeout(5):
                    assert b"".join([part async for part in parts]) == b""
            proxy.go_on()

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_a_long_script_is_no_silence(redis_url: str) -> None:
    async def play() -> None:
        async with stopped_proxy(redis_url) as proxy, served(proxy.url) as (_, state):
            await state.redis.config_set("lua-time-limit", 50)
            begun = time.monotonic()
            script = "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 4 do end return 'done'"
            try:
                assert await state.redis.execute_command("EVAL", script, 0) == b"done"
            finally:
                await state.redis.config_set("lua-time-limit", 5000)
            assert time.monotonic() - begun > 2

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_a_large_value_takes_as_long_as_it_takes(redis_url: str) -> None:
    async def play() -> None:
        async with stopped_proxy(redis_url) as proxy, served(proxy.url) as (_, state):
            proxy.pause_s = 0.03
            value, begun = 3 * 2**20 * b"-", time.monotonic()
            async with state.redis.pipeline() as pipe:
                pipe.set("large", value)
                await pipe.execute()
            assert await state.redis.get("large") == value
            assert time.monotonic() - begun > 2
            assert not state.redis.pulse.is_silent

    asyncio.run(play())


def test_a_process_that_stands_still_itself_does_not_take_redis_for_silent(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does while it reads a very large body."""
    monkeypatch.setattr(pulse, "ANSWER_S", 0.04)

    async def play() -> None:
        async with served(redis_url) as (_, state):
            for _ in range(80):
                time.sleep(0.05)  # noqa: ASYNC251 # that is what it does
                await asyncio.sleep(0)
                assert not state.redis.pulse.is_silent
            assert await state.redis.ping()

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_writes_that_are_held_back_are_silence(redis_url: str) -> None:
    async def play() -> None:
        async with served(redis_url) as (client, state):
            with redis.Redis.from_url(redis_url) as connection:
                connection.client_pause(4000, all=False)
            assert (await client.post("/filter", json=BODY)).status_code == 503
            await until_silent(state, False)
            await submit(client, ["de"])

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_a_queue_that_hangs_is_an_answer_too(redis_url: str) -> None:
    async def play() -> None:
        async with (
            stopped_proxy(redis_url) as proxy,
            served(redis_url, broker_url=proxy.url) as (client, _),
        ):
            await submit(client, ["de"])
            proxy.stop()
            response = await client.post("/filter", json=BODY)
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "5"
            assert response.json()["detail"] == "the queue cannot be reached"
            assert (await client.get("/queue")).status_code == 503
            newest = (await client.get("/jobs")).json()[0]
            assert newest["status"] == "failed", "its client knows that it was not taken"

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_nobody_there_is_no_silence() -> None:
    """Commands end by themselves, and say why."""
    url = f"redis://127.0.0.1:{free_port()}/0"

    async def play() -> None:
        beat = Pulse(url)
        stopped = asyncio.Event()
        running = asyncio.create_task(beat.run(stopped))
        client = HeardRedis.connected(url, beat)
        with pytest.raises(redis.ConnectionError):
            await client.ping()
        assert not beat.is_silent
        stopped.set()
        await running
        await client.aclose()

    asyncio.run(play())


@pytest.mark.usefixtures("impatient")
def test_what_ends_by_itself_keeps_its_error(redis_url: str) -> None:
    async def late() -> None:
        raise TimeoutError("its own")

    async def play() -> None:
        async with stopped_proxy(redis_url) as proxy, served(proxy.url) as (_, state):
            with pytest.raises(TimeoutError, match="its own"):
                await state.redis.pulse.unless_silent(late)
            proxy.stop()
            await until_silent(state)
            with pytest.raises(RedisTimeoutError, match="silent"):
                await state.redis.pulse.unless_silent(late)

    asyncio.run(play())
