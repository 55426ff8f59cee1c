"""`GET /metrics`: what the service has counted, and what Redis says now, whether or not it says anything."""

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from congrad.contract.tokens import Role
from congrad_service import keys
from congrad_service.directions import directions
from congrad_service.observability import metrics
from congrad_service.queue import recovery
from congrad_service.queue.queue import Queue
from congrad_service.queue.recovery import Recovery
from congrad_service.scraping import snapshots
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis as AsyncRedis
from support.hands import do_all
from support.metrics import parsed, value
from support.serving import service, settings, submit
from support.tokens import bearer, write_tokens

PROMTOOL = shutil.which("promtool")


async def scraped(client: httpx.AsyncClient, **headers: str) -> str:
    response = await client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    return response.text


def test_requests_are_counted_by_the_template_of_their_route(redis_url: str) -> None:
    async def ask() -> str:
        async with service(redis_url) as client:
            for name in ("one", "two", "three"):
                assert (await client.get(f"/directions/{name}")).status_code == 404
            await client.get("/livez")
            return await scraped(client)

    text = asyncio.run(ask())
    route = {"route": "/directions/{name}", "method": "GET"}
    assert value(text, "congrad_http_requests_total", **route, status="404") == 3
    assert value(text, "congrad_http_request_duration_seconds_count", **route) == 3
    assert 0 < value(text, "congrad_http_request_duration_seconds_sum", **route) < 3
    assert value(text, "congrad_http_requests_total", route="/livez", status="200") == 1


def test_clients_cannot_make_series(redis_url: str) -> None:
    async def ask() -> tuple[str, str]:
        async with service(redis_url, api_key="key") as client:
            key = {"Authorization": "Bearer key"}
            for method in ("GET", "BREW"):
                await client.request(method, "/nowhere", headers=key)
                await client.request(method, "/directions/x")
            before = await scraped(client, **key)
            for number in range(50):
                await client.request("GET", f"/nowhere/{number}", headers=key)
                await client.request(f"BREW{number}", "/nowhere", headers=key)
                await client.request("GET", f"/directions/x{number}")  # without a token: refused before it is routed
            return before, await scraped(client, **key)

    before, after = asyncio.run(ask())
    # The scrape before is itself a request to a route.
    assert set(parsed(after)["congrad_http_requests_total"]) - set(parsed(before)["congrad_http_requests_total"]) == {
        frozenset({("route", "/metrics"), ("method", "GET"), ("status", "200")})
    }
    other = {"route": metrics.OTHER}
    assert value(after, "congrad_http_requests_total", **other) == 4 + 150
    assert value(after, "congrad_http_requests_total", **other, method=metrics.OTHER) == 2 + 50


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain;version=x",
        "text/plain;version=",
        "application/openmetrics-text;version=1.x.0",
        "application/openmetrics-text;version=;q=1,*/*",
        "text/plain;version=1.0.0;escaping=nonsense",
        ";;=,=;version=0,text/plain;version=\u00b9.0",
        "nonsense",
    ],
)
def test_a_form_that_nobody_knows_is_answered_in_the_usual_one(accept: str, redis_url: str) -> None:
    async def ask() -> httpx.Response:
        async with service(redis_url) as client:
            return await client.get("/metrics", headers={b"Accept": accept.encode("latin-1")})

    response = asyncio.run(ask())
    assert response.status_code == 200
    assert value(response.text, "congrad_redis_up") == 1
    assert response.headers["content-type"].startswith(("text/plain", "application/openmetrics-text"))


def test_what_is_written_of_directions_is_read_beside_the_requests(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of some hundred with many languages takes seconds."""
    readers: set[int] = set()

    class Json:
        @staticmethod
        def loads(text: bytes) -> Any:
            readers.add(threading.get_ident())
            return json.loads(text)

    async def ask() -> None:
        async with service(redis_url) as client:
            await submit(client, ["de"])
            await asyncio.to_thread(do_all, store)
            for module in (snapshots, directions):
                monkeypatch.setattr(module, "json", Json)
            assert value(await scraped(client), "congrad_direction_version") == 1
            assert (await client.get("/directions")).json()[0]["languages"] == {"de": 1}
            assert (await client.get("/directions/default")).status_code == 200

    asyncio.run(ask())
    assert readers
    assert threading.get_ident() not in readers


def test_what_waits_is_counted_as_it_is_at_the_scrape(redis_url: str, store: Store) -> None:
    async def ask() -> tuple[str, str]:
        async with service(redis_url, chunk_tokens=1, max_queue=7) as client:
            await submit(client, ["de", "fr", "it"])
            await submit(client, ["de"])
            waiting = await scraped(client)
            await asyncio.to_thread(do_all, store)
            return waiting, await scraped(client)

    waiting, done = asyncio.run(ask())
    tasks = "congrad_queue_tasks"
    assert value(waiting, "congrad_queue_jobs") == 2
    assert value(waiting, "congrad_queue_jobs_limit") == 7
    assert 0 < value(waiting, "congrad_queue_oldest_job_age_seconds") < 60
    assert value(waiting, tasks, role="gradients", checkpoint="policy", fingerprint="f00d") == 4  # one a chunk
    assert value(waiting, tasks, role="decide") == 0
    assert value(waiting, "congrad_workers", role="gradients", fingerprint="f00d") == 1
    assert value(waiting, "congrad_workers", role="decide") == 1
    for name in ("congrad_queue_jobs", "congrad_queue_oldest_job_age_seconds", tasks):
        assert name in parsed(done)
        assert value(done, name) == 0
    about = {"direction": "default"}
    assert value(done, "congrad_direction_version", **about) == 2
    assert value(done, "congrad_direction_samples", **about) == 4
    assert value(done, "congrad_direction_norm", **about) > 0
    weights = [value(done, "congrad_direction_language_weight", **about, language=tag) for tag in ("de", "fr", "it")]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert abs(value(done, "congrad_direction_updated_timestamp_seconds", **about) - time.time()) < 60


def test_tasks_for_a_checkpoint_that_nobody_serves_are_counted_too(redis_url: str, store: Store) -> None:
    async def ask() -> str:
        async with service(redis_url) as client:
            await submit(client, ["de"])
            store.redis.delete(keys.workers("gradients"))
            return await scraped(client)

    text = asyncio.run(ask())
    assert value(text, "congrad_queue_tasks", role="gradients", fingerprint="f00d") == 1
    assert value(text, "congrad_workers", role="gradients") == 0


def test_a_scrape_tells_only_of_the_directions_of_its_team(redis_url: str, store: Store, tmp_path: Path) -> None:
    tokens = write_tokens(
        tmp_path / "tokens.toml", *((team or "none", Role.FILTER, team) for team in ("red", "blue", None))
    )

    async def ask() -> dict[str, str]:
        async with service(redis_url, api_keys_file=tokens) as client:
            for name in ("red", "blue", "none"):
                client.headers = httpx.Headers(bearer(name))
                await submit(client, ["de"], direction=f"of-{name}")
            await asyncio.to_thread(do_all, store)
            return {name: await scraped(client, **bearer(name)) for name in ("red", "blue", "none")}

    for name, text in asyncio.run(ask()).items():
        told = {dict(labels)["direction"] for labels in parsed(text)["congrad_direction_version"]}
        assert told == {f"of-{name}"}
        assert value(text, "congrad_directions") == 1


def test_of_many_directions_it_tells_of_those_that_changed_last(redis_url: str, store: Store) -> None:
    async def ask() -> str:
        async with service(redis_url) as client:
            await submit(client, ["de"], direction="model")
            await asyncio.to_thread(do_all, store)
            for number in range(snapshots.MAX_DIRECTIONS + 10):
                store.redis.copy(keys.direction("model"), keys.direction(f"d{number}"))
                store.redis.hset(keys.direction(f"d{number}"), "updated", 1000 + number)
                store.redis.sadd(keys.DIRECTIONS, f"d{number}")
            return await scraped(client)

    text = asyncio.run(ask())
    told = {dict(labels)["direction"] for labels in parsed(text)["congrad_direction_norm"]}
    last = range(11, snapshots.MAX_DIRECTIONS + 10)
    assert told == {"model", *(f"d{number}" for number in last)}
    assert value(text, "congrad_directions") == snapshots.MAX_DIRECTIONS + 11


def test_the_memory_of_redis_is_told_where_redis_tells_it(redis_url: str) -> None:
    async def ask(url: str) -> str:
        async with service(url) as client:
            return await scraped(client)

    with redis.Redis.from_url(redis_url) as connection:
        connection.config_set("maxmemory", 0)
        unlimited = asyncio.run(ask(redis_url))
        connection.config_set("maxmemory", 123456789)
        connection.acl_setuser("curious", enabled=True, passwords=["+word"], keys="*", commands=["+@all", "-info"])
        try:
            limited = asyncio.run(ask(redis_url))
            address = redis_url.rpartition("@")[2]
            silent = asyncio.run(ask(f"redis://curious:word@{address}"))
        finally:
            connection.config_set("maxmemory", 0)
            connection.acl_deluser("curious")
    assert value(unlimited, "congrad_redis_memory_used_bytes") > 100_000
    assert "congrad_redis_memory_limit_bytes" not in parsed(unlimited)
    assert value(limited, "congrad_redis_memory_limit_bytes") == 123456789
    assert value(silent, "congrad_redis_up") == 1
    assert not [name for name in parsed(silent) if name.startswith("congrad_redis_memory")]


def test_a_scrape_without_redis_still_answers() -> None:
    async def ask(url: str) -> str:
        async with service(url) as client:
            await client.get("/livez")
            begun = time.monotonic()
            text = await scraped(client)
            assert time.monotonic() - begun < snapshots.DEADLINE_S + 2
            return text

    nobody = "redis://127.0.0.1:1/0"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never says a word
        for url in (nobody, "redis://{}:{}/0".format(*silent.getsockname())):
            text = asyncio.run(ask(url))
            assert parsed(text)["congrad_redis_up"] == {frozenset(): 0.0}
            assert value(text, "congrad_http_requests_total", route="/livez") == 1
            assert "congrad_queue_jobs" not in parsed(text)


def test_work_that_is_queued_again_is_counted(redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "SECOND_LOOK_S", 0.0)

    async def lose_and_find() -> metrics.Metrics:
        counted = metrics.Metrics()
        async with service(redis_url) as client:
            job_id = await submit(client, ["de"])
        async with AsyncRedis.from_url(redis_url) as connection:  # the service would find it too, and count by itself
            store.redis.delete(keys.gradients_queue("f00d"))
            store.redis.zadd(keys.JOBS_ACTIVE, {job_id: 1})
            store.redis.hset(keys.job(job_id), "created", 1)
            queue = Queue(settings(redis_url))
            await Recovery(connection, connection, queue, counted).sweep()
            queue.close()
        return counted

    registry = asyncio.run(lose_and_find()).registry
    assert registry.get_sample_value("congrad_work_recovered_total", {"task": "gradients"}) == 1
    assert registry.get_sample_value("congrad_work_recovered_total", {"task": "decide"}) == 0


def test_it_speaks_openmetrics_to_those_who_ask_for_it(redis_url: str) -> None:
    async def ask() -> httpx.Response:
        async with service(redis_url) as client:
            return await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    response = asyncio.run(ask())
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_prometheus_itself_finds_nothing_to_complain_of(redis_url: str, store: Store) -> None:
    async def ask() -> str:
        async with service(redis_url) as client:
            await submit(client, ["de"])
            await asyncio.to_thread(do_all, store)
            return await scraped(client)

    text = asyncio.run(ask())
    done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
