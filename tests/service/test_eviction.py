"""A Redis that deletes what it has no room for is named at the start of the service."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from congrad_service import eviction
from congrad_service.eviction import danger_of, warn
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, NoPermissionError
from support.serving import service


def said_of(redis_url: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    async def ask() -> None:
        async with Redis.from_url(redis_url) as connection:
            await warn(connection, asyncio.Event())

    asyncio.run(ask())
    return [record.message for record in caplog.records if record.name == "congrad_service.eviction"]


@contextmanager
def evicting(redis_url: str, policy: str) -> Iterator[None]:
    with redis.Redis.from_url(redis_url) as connection:
        connection.config_set("maxmemory", "1gb")
        connection.config_set("maxmemory-policy", policy)
        try:
            yield
        finally:
            connection.config_set("maxmemory-policy", "noeviction")
            connection.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    ("policy", "lost"),
    [
        ("allkeys-lru", "deletes jobs and directions without a word"),
        ("volatile-lru", "deletes jobs that are under way, and answers without a word"),
    ],
)
def test_what_it_may_lose_is_said(policy: str, lost: str) -> None:
    said = danger_of({"maxmemory_policy": policy, "maxmemory": 1 << 30})
    assert said is not None
    assert policy in said
    assert lost in said


@pytest.mark.parametrize(
    "memory",
    [{"maxmemory_policy": "noeviction", "maxmemory": 1}, {"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, {}],
)
def test_where_nothing_is_deleted_nothing_is_said(memory: dict[str, Any]) -> None:
    assert danger_of(memory) is None


def test_the_log_says_it(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with evicting(redis_url, "noeviction"):
        assert said_of(redis_url, caplog) == []
    with evicting(redis_url, "volatile-lru"):
        (said,) = said_of(redis_url, caplog)
    assert said.endswith("Set it to noeviction")


def test_a_service_asks_as_it_starts(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def start() -> None:
        async with service(redis_url), asyncio.timeout(5):
            while "maxmemory-policy allkeys-lru" not in caplog.text:  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)

    with evicting(redis_url, "allkeys-lru"):
        asyncio.run(start())


def test_a_redis_that_does_not_tell_is_not_asked_again_and_one_that_is_away_is(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Exception] = [ConnectionError(), NoPermissionError()]

    async def refuse(*_: Any, **__: Any) -> Any:
        raise answers.pop(0)

    monkeypatch.setattr(Redis, "info", refuse)
    monkeypatch.setattr(eviction, "PAUSE_S", 0.01)
    assert said_of(redis_url, caplog) == []
    assert answers == []
