"""Limits on what comes in: its size, its depth, its pace, its number; and what a full Redis does."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import pytest
import redis
from congrad_service import keys
from congrad_service.edge import limits
from congrad_service.queue.registry import Role
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.tasks.store import Store
from starlette.types import Receive, Scope, Send
from support.hands import compute_chunk
from support.serving import announce_workers, listening, served, service, settings, settle, submit

JSON = {"Content-Type": "application/json"}
PAIR = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
ASYNC = {"Prefer": "respond-async"}

pytestmark = pytest.mark.usefixtures("store")


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    return found


async def raw(url: httpx.URL, *pieces: bytes) -> bytes:
    """What a server answers to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    answer = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while more := await reader.read(2**16):
            answer += more
    except ConnectionError:
        pass  # closed while something was on its way
    writer.close()
    return answer


# Size and depth.


def test_a_body_of_unknown_length_is_refused_before_it_is_read_whole(redis_url: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**16
            yield b" " * 2**16

    async def post() -> None:
        async with served(redis_url, max_body_bytes=2**20) as (client, _):
            try:
                response = await client.post("/filter", content=endless(), headers=JSON)
            except httpx.TransportError:
                pass  # the service has answered and closed the connection
            else:
                assert "more than 1048576 bytes" in problem(response, 413)["detail"]

    asyncio.run(post())
    assert sent < 2**25


def test_a_length_that_lies_gets_nothing_past_the_limit(redis_url: str) -> None:
    head = b"POST /filter HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"

    async def post() -> None:
        async with served(redis_url, max_body_bytes=100) as (client, _):
            longer = await raw(client.base_url, head, b"Content-Length: 5\r\n\r\n", b"[" * 200)
            assert longer.startswith(b"HTTP/1.1 422")
            larger = await raw(client.base_url, head, b"Content-Length: 101\r\n\r\n")
            assert larger.startswith(b"HTTP/1.1 413")
            both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert (await raw(client.base_url, head, both)).startswith(b"HTTP/1.1 400")

    asyncio.run(post())


NESTED = "[" * 10_000 + "]" * 10_000


@pytest.mark.parametrize(
    "body",
    [
        NESTED,
        '{"samples": ' + NESTED + "}",
        json.dumps({"samples": [PAIR | {"tools": "TOOLS"}]}).replace('"TOOLS"', NESTED),
        json.dumps({"samples": [PAIR | {"tools": NESTED}]}),
        json.dumps({"samples": [PAIR | {"chat_template_kwargs": "ARGS"}]}).replace(
            '"ARGS"', '{"a":' * 5000 + "1" + "}" * 5000
        ),
    ],
    ids=["body", "samples", "tools", "tools in a string", "template variables"],
)
def test_a_body_of_ten_thousand_brackets_is_refused(body: str, redis_url: str) -> None:
    async def post() -> None:
        async with service(redis_url) as client:
            response = await client.post("/filter", content=body, headers=JSON)
            assert response.status_code in (400, 422), response.text
            assert len(response.content) < 5_000

    asyncio.run(post())


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"samples": [PAIR | {"id": "x" * 257}]}, "at most 256 characters"),
        ({"samples": [PAIR | {"id": ""}]}, "at least 1 character"),
        ({"samples": [PAIR | {"language": "de-" + "x" * 100_000}]}, "is not a BCP 47 language tag"),
        ({"direction": "a" * 129}, "match pattern"),
        ({"checkpoint": "\x7f" * 4097}, "at most 4096 characters"),
        ({"samples": [PAIR | {"chosen": [{"role": "r" * 65, "content": "c"}]}]}, "at most 64 characters"),
        ({"samples": [PAIR | {f"x{i}": 0 for i in range(100_000)}]}, "has 100004 fields"),
        ({f"x{i}": 0 for i in range(100_000)}, "has 100001 fields"),
        ({"samples": [0] * 100_000}, "valid dictionary"),
        ({"samples": [{}] * 100_000}, "is missing"),
        ({"samples": [PAIR | {"chosen": [0] * 100_000, "rejected": [0]}]}, "valid dictionary"),
    ],
)
def test_names_and_faults_without_end_are_refused_with_an_answer_that_has_one(
    changed: dict[str, Any], detail: str, redis_url: str
) -> None:
    async def post() -> None:
        async with service(redis_url, max_samples=100_000) as client:
            response = await client.post("/filter", json={"samples": [PAIR]} | changed)
            found = problem(response, 422)
            assert detail in json.dumps(found)
            assert len(response.content) < 300_000

    asyncio.run(post())


MANY = limits.MAX_VALUES + 1
TOOLS = json.dumps([{"a": [0] * (MANY // 3)}], separators=(",", ":"))
"""A third of them, in a string that is parsed further on."""
TURN = {"role": "user", "content": "c"}


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ([0] * MANY, "utf-8"),
        ({'"\\': 0, "samples": [0] * MANY}, "utf-16"),
        ({"samples": [PAIR | {"chat_template_kwargs": {str(number): 0 for number in range(MANY // 2)}}]}, "utf-8"),
        ({"samples": [PAIR | {"tools": [{"a": [[]] * (MANY // 2)}]}]}, "utf-8"),
        ({"samples": [PAIR | {"tools": TOOLS}] * 4}, "utf-8"),
        ({"samples": [PAIR | {"prompt": [TURN] * (MANY // 6), "chosen": [TURN], "rejected": [TURN]}]}, "utf-8"),
    ],
    ids=["numbers", "UTF-16", "template variables", "lists in tools", "tools in strings", "messages"],
)
def test_a_body_of_more_names_and_values_than_are_taken_is_refused(body: Any, encoding: str, redis_url: str) -> None:
    content = json.dumps(body, separators=(",", ":")).encode(encoding)

    async def post() -> None:
        async with service(redis_url) as client:
            found = problem(await client.post("/filter", content=content, headers=JSON), 413)
            assert f"more than {limits.MAX_VALUES} names and values" in found["detail"]

    asyncio.run(post())


def test_texts_may_hold_whatever_separates_values(redis_url: str) -> None:
    announce_workers(redis_url)
    text = 'a, [b], {"c\\"}\n' * (MANY // 4)

    async def post() -> None:
        async with service(redis_url) as client:
            body = {"samples": [PAIR | {"chosen": text, "rejected": text}]}
            assert (await client.post("/filter", json=body, headers=ASYNC)).status_code == 202

    asyncio.run(post())


def test_samples_are_counted_before_each_is_looked_at(redis_url: str) -> None:
    async def post() -> None:
        async with service(redis_url) as client:
            found = problem(await client.post("/filter", json={"samples": [{}] * 5_000}), 413)
            assert found["detail"] == "5000 samples in one request; at most 4096 are taken"

    asyncio.run(post())


def test_languages_without_end_are_refused_before_each_is_looked_at(redis_url: str) -> None:
    async def post() -> None:
        async with service(redis_url) as client:
            body = {"languages": [f"de-x-{number}" for number in range(1_025)] + ["?"]}
            found = problem(await client.post(f"/jobs/{'0' * 32}/rescore", json=body), 422)
            assert "at most 1024 items" in found["detail"]

    asyncio.run(post())


def test_a_length_of_thousands_of_zeros_is_a_length(redis_url: str) -> None:
    zeros = b"Content-Length: " + b"0" * 5_000

    async def post() -> None:
        async with served(redis_url, max_body_bytes=100) as (client, _):
            for path, length, status in ((b"/livez", b"2", 200), (b"/queue", b"2", 200), (b"/queue", b"101", 413)):
                head = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                answer = await raw(client.base_url, head, zeros + length + b"\r\n\r\n", b"{}")
                assert answer.startswith(f"HTTP/1.1 {status}".encode())

    asyncio.run(post())


# Pace.


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [(b"/livez", 16_200, 200), (b"/livez", 16_384, 431), (b"/" * 16_384, 0, 431)],
    ids=["all but large", "a large field", "a large path"],
)
def test_a_large_head_is_refused_also_where_its_end_comes_with_it(
    path: bytes, size: int, status: int, redis_url: str
) -> None:
    async def connect() -> bytes:
        async with served(redis_url) as (client, _):
            fields = b"Host: localhost\r\nConnection: close\r\nx: " + b"y" * size
            return await raw(client.base_url, b"GET " + path + b" HTTP/1.1\r\n" + fields + b"\r\n\r\n")

    assert asyncio.run(connect()).startswith(b"HTTP/1.1 %d" % status)


def test_a_head_that_does_not_come_and_one_without_end_are_not_waited_for(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_S", 0.3)

    async def connect() -> None:
        async with served(redis_url) as (client, _):
            assert await raw(client.base_url, b"") == b""
            assert await raw(client.base_url, b"GET /livez HTTP/1.1\r\nHost:") == b""
            whole = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
            answer = await raw(client.base_url, whole, b"GET /livez HTTP/1.1\r\nHos")
            assert answer.count(b'{"status":"live"}') == 1
            large = await raw(client.base_url, b"GET /livez HTTP/1.1\r\nx: ", *[b"y" * 2**16] * 8)
            assert large.startswith(b"HTTP/1.1 431") or not large
            assert (await client.get("/livez", headers={"x": "y" * 10_000})).status_code == 200

    asyncio.run(connect())


def test_a_body_that_trickles_is_408_and_hinders_nobody(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.5)
    monkeypatch.setattr(limits, "LINGER_S", 0.5)  # for the rest of it
    head = b"POST /filter HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"

    async def post() -> None:
        async with served(redis_url) as (client, _):
            slow = [asyncio.create_task(raw(client.base_url, head, b"{")) for _ in range(100)]
            assert (await client.get("/directions")).status_code == 200
            answers = await asyncio.gather(*slow)
            assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
            assert b"application/problem+json" in answers[0]
            # The time is for the body, not for the answer.
            assert (
                await client.post("/filter", json={"samples": [PAIR]}, headers={"Prefer": "wait=1"})
            ).status_code == 202

    asyncio.run(post())


def test_a_stream_that_nobody_reads_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALLED_S", 0.3)

    async def stare() -> None:
        is_over = asyncio.Event()

        async def endless(_: Scope, receive: Receive, send: Send) -> None:
            listening_on = asyncio.create_task(disconnected(receive))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not listening_on.done():
                await send({"type": "http.response.body", "body": b" " * 2**16, "more_body": True})
                await asyncio.sleep(0)
            is_over.set()

        async with listening(endless, lifespan="off") as (host, port):
            reader, writer = await asyncio.open_connection(host, port, limit=1)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.read(1)
            await asyncio.wait_for(is_over.wait(), 20)
            writer.close()

    asyncio.run(stare())


async def disconnected(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


# Number.


def test_no_more_directions_are_begun_than_are_kept(redis_url: str, store: Store) -> None:
    async def begin() -> None:
        async with service(redis_url, max_directions=2) as client:
            for name in ("a", "b"):
                job_id = await submit(client, ["de", "fr"], direction=name)
                compute_chunk(store, job_id, 0)
                settle(store, job_id)
            state = (await client.get("/directions/a/state")).content
            third = {"samples": [PAIR], "direction": "c"}
            refused = [
                await client.post("/filter", json=third, headers=ASYNC),
                await client.put(
                    "/directions/c/state", content=state, headers={"Content-Type": "application/octet-stream"}
                ),
            ]
            for response in refused:
                assert "there are 2 directions, and 2 at most" in problem(response, 409)["detail"]
            assert not store.redis.exists(keys.direction("c"))
            assert (await client.post("/filter", json=third | {"update": False}, headers=ASYNC)).status_code == 202
            assert (await client.post("/filter", json=third | {"direction": "a"}, headers=ASYNC)).status_code == 202
            replaced = await client.put(
                "/directions/b/state", content=state, headers={"Content-Type": "application/octet-stream"}
            )
            assert replaced.status_code == 200
            await client.delete("/directions/b")
            assert (await client.post("/filter", json=third, headers=ASYNC)).status_code == 202

    asyncio.run(begin())


@pytest.mark.parametrize(("age", "expected"), [(0, 1), (10, 5), (10_000, 60)])
def test_a_full_queue_says_when_there_will_be_room(age: int, expected: int, redis_url: str, store: Store) -> None:
    """With two jobs in it, of which the first has been there for so long, one ends in about half of that."""

    async def fill() -> None:
        async with service(redis_url, max_queue=2) as client:
            first = await submit(client, ["de"])
            await submit(client, ["de"])
            store.redis.zincrby(keys.JOBS_ACTIVE, -age, first)
            response = await client.post("/filter", json={"samples": [PAIR]}, headers=ASYNC)
            problem(response, 429)
            assert abs(int(response.headers["retry-after"]) - expected) <= 1

    asyncio.run(fill())


# A full Redis.


@contextmanager
def full(connection: redis.Redis) -> Iterator[None]:
    """Redis as it is when there is no memory left."""
    connection.config_set("maxmemory", 1)
    try:
        yield
    finally:
        connection.config_set("maxmemory", 0)


def test_a_full_redis_takes_no_jobs_and_keeps_what_it_has(redis_url: str, store: Store) -> None:
    async def post() -> None:
        async with service(redis_url) as client:
            job_id = await submit(client, ["de"])
            before = sorted(store.redis.scan_iter())
            headers = ASYNC | {"Idempotency-Key": "k"}
            with full(store.redis):
                response = await client.post("/filter", json={"samples": [PAIR]}, headers=headers)
                assert "has no memory left" in problem(response, 503)["detail"]
                assert int(response.headers["retry-after"]) > 0
                assert sorted(store.redis.scan_iter()) == before
                assert (await client.get(f"/jobs/{job_id}")).json()["status"] == "queued"
                assert (await client.get("/readyz")).status_code == 200
            assert (await client.post("/filter", json={"samples": [PAIR]}, headers=headers)).status_code == 202

    asyncio.run(post())


def test_work_that_is_under_way_ends_though_redis_is_full_and_frees_its_memory(redis_url: str, store: Store) -> None:
    async def end() -> None:
        async with service(redis_url) as client:
            computed, cancelled, waiting = [await submit(client, ["de", "fr"]) for _ in range(3)]
            compute_chunk(store, computed, 0)
            with full(store.redis):
                settle(store, computed)
                assert (await client.get(f"/jobs/{computed}")).json()["status"] == "succeeded"
                assert (await client.delete(f"/jobs/{cancelled}")).json()["status"] == "cancelled"
                with pytest.raises(redis.exceptions.OutOfMemoryError):  # the task goes back to the queue
                    compute_chunk(store, waiting, 0)
            left = {key for key in store.redis.scan_iter("congrad:job:*:*") if b":doing:" not in key}
            held = (keys.pending(waiting), keys.ready_chunks(waiting), keys.chunk(waiting, 0))
            assert left == {key.encode() for key in held}
            assert (await client.get("/directions/default")).json()["version"] == 1
            (entry,) = (await client.get("/directions/default/history")).json()
            assert (entry["version"], entry["job_id"]) == (1, computed)
            with full(store.redis):
                assert (await client.delete("/directions/default")).status_code == 204
            assert compute_chunk(store, waiting, 0)

    asyncio.run(end())


def test_workers_are_seen_though_redis_is_full(redis_url: str, store: Store) -> None:
    other = Store(settings(redis_url))
    heartbeat = Heartbeat(other, Role.DECIDE)
    with full(store.redis):
        heartbeat.start()
        try:
            assert other.worker_id.encode() in cast("list[bytes]", store.redis.zrange(keys.workers(Role.DECIDE), 0, -1))
            assert store.redis.exists(keys.worker(other.worker_id))
        finally:
            heartbeat.stop()
        assert not store.redis.exists(keys.worker(other.worker_id))
        other.redis.close()


def test_a_queue_that_is_full_of_memory_holds_no_place_for_a_job_that_did_not_get_into_it(
    redis_url: str, store: Store
) -> None:
    async def post() -> None:
        async with service(redis_url) as client:
            state = client._transport.app.state.congrad  # type: ignore[attr-defined]
            send = state.queue.enqueue_gradients

            def send_to_full(*arguments: Any) -> None:
                with full(store.redis):
                    send(*arguments)

            state.queue.enqueue_gradients = send_to_full
            response = await client.post("/filter", json={"samples": [PAIR]}, headers=ASYNC)
            assert problem(response, 503)["detail"] == "the queue cannot be reached"
            assert store.redis.zcard(keys.JOBS_ACTIVE) == 0

    asyncio.run(post())
