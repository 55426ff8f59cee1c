"""Work that is taken before its message comes, over a real Redis."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import pytest
from congrad.contract import wire
from congrad_service import keys
from congrad_service.jobs.jobs import Jobs
from congrad_worker.processes import direct
from congrad_worker.processes.direct import Direct
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis
from redis.exceptions import RedisError
from support.bench import SERVED
from support.serving import settings

QUEUE = keys.gradients_queue(SERVED.fingerprint)


class Hands:
    """What a worker does with its turns."""

    def __init__(self, store: Store):
        self.done: SimpleQueue[str] = SimpleQueue()
        self.begun = 0
        self.fails = 0
        self._store = store

    def work(self, alone: bool) -> None:
        self.begun += 1
        if self.fails:
            self.fails -= 1
            raise RedisError("away")
        if (turn := self._store.turn(QUEUE, alone)) is not None:
            self.done.put(turn[0])


def ask(redis_url: str) -> str:
    async def once() -> str:
        async with Redis.from_url(redis_url) as redis:
            sample = {"language": "de", "prompt": "p", "chosen": "c", "rejected": "r"}
            request = wire.FilterRequest.model_validate({"samples": [sample]})
            return (await Jobs(redis, settings(redis_url)).create(request, SERVED, None)).job_id

    return asyncio.run(once())


@contextmanager
def taking(store: Store, hands: Hands, queue: Callable[[], str | None] = lambda: QUEUE) -> Iterator[Direct]:
    taker = Direct(store, queue, hands.work)
    taker.start()
    try:
        yield taker
    finally:
        assert taker.stop()
        taker._thread.join(10)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "WAIT_S", 0.1)
    monkeypatch.setattr(direct, "OUTAGE_PAUSE_S", 0.01)


def test_a_job_that_waits_alone_is_taken_without_a_message(redis_url: str, store: Store) -> None:
    hands = Hands(store)
    with taking(store, hands):
        for _ in range(3):
            job = ask(redis_url)
            assert hands.done.get(timeout=10) == job


def test_nothing_is_taken_beside_a_message_nor_by_a_worker_that_sleeps(redis_url: str, store: Store) -> None:
    hands = Hands(store)
    with taking(store, hands, queue=lambda: None):
        job = ask(redis_url)
        with pytest.raises(Empty):
            hands.done.get(timeout=0.3)
    with taking(store, hands) as taker, taker.message():
        with pytest.raises(Empty):
            hands.done.get(timeout=0.3)
        assert store.turn(QUEUE) == (job, 0)


def test_what_a_busy_worker_holds_the_messages_of_is_taken_by_an_idle_one(redis_url: str, store: Store) -> None:
    hands = Hands(store)
    jobs = [ask(redis_url) for _ in range(2)]
    store.redis.delete(keys.waking(QUEUE))  # one was told of the first, and left both to their messages
    with taking(store, hands):
        assert [hands.done.get(timeout=10) for _ in jobs] == jobs


def test_who_has_nothing_to_do_does_nothing(store: Store) -> None:
    """It would keep its checkpoint from sleeping."""
    hands = Hands(store)
    with taking(store, hands), pytest.raises(Empty):
        hands.done.get(timeout=0.3)
    assert not hands.begun


def test_who_has_fallen_asleep_meanwhile_is_not_woken(redis_url: str, store: Store) -> None:
    hands = Hands(store)
    ask(redis_url)
    store.redis.delete(keys.waking(QUEUE))
    awake = iter([QUEUE])
    with taking(store, hands, queue=lambda: next(awake, None)), pytest.raises(Empty):
        hands.done.get(timeout=0.3)
    assert not hands.begun


def test_a_redis_that_is_away_for_a_moment_is_tried_again(redis_url: str, store: Store) -> None:
    hands = Hands(store)
    hands.fails = 1
    with taking(store, hands):
        for _ in range(2):
            job = ask(redis_url)
            assert hands.done.get(timeout=10) == job
        assert not hands.fails


def test_who_is_told_to_stop_ends_what_is_under_way_and_takes_no_more(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work(_alone: bool) -> None:
        begun.set()
        assert may_end.wait(10)

    taker = Direct(store, lambda: QUEUE, work)
    taker.start()
    ask(redis_url)
    assert begun.wait(10)
    monkeypatch.setattr(direct, "SOFT_SHUTDOWN_S", 0.01)
    assert not taker.stop(), "it has taken too long"
    may_end.set()
    monkeypatch.setattr(direct, "SOFT_SHUTDOWN_S", 10)
    assert taker.stop()
    taker._thread.join(10)
    assert not taker._thread.is_alive()
