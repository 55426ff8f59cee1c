"""Lost work is found and queued again, over a real Redis and Celery's own messages; the tests do the workers' part."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import pytest
import redis
from congrad.contract import wire
from congrad.local.redis_server import free_port
from congrad_service import keys
from congrad_service.jobs.jobs import Jobs
from congrad_service.observability.metrics import Metrics
from congrad_service.queue import recovery
from congrad_service.queue.broker import UNACKED, messages
from congrad_service.queue.queue import Queue
from congrad_service.queue.recovery import Recovery
from congrad_service.queue.registry import SILENT_S, Role
from congrad_worker.processes.heartbeat import Heartbeat
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis
from support.bench import SERVED
from support.serving import settings

QUEUE = keys.gradients_queue(SERVED.fingerprint)
PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


@dataclass
class Scene:
    """A job of two chunks whose tasks are in the queue since a minute, a worker, and the recovery."""

    job_id: str
    store: Store
    redis: redis.Redis
    recovery: Recovery
    broker: Redis

    def fall_silent(self) -> None:
        """The worker is gone: what it said that it was at lapses."""
        self.redis.delete(*self.redis.keys(keys.doing(self.job_id, "*")))

    def take(self, noted: bool = True) -> None:
        """A message leaves the queue for a worker, as kombu does it: it is noted in a second step."""
        text = self.redis.rpop(QUEUE)
        assert text is not None
        if noted:
            self.redis.hset(UNACKED, "tag", json.dumps([json.loads(cast("bytes", text)), "", QUEUE]))

    async def waiting(self, queue: str = QUEUE) -> int:
        """The messages in a queue."""
        return (await messages(self.broker, [queue])).waiting[queue]

    async def sweep(self) -> list[int | None]:
        """What is found missing at the first look, which is the second where tests do not wait: the chunks."""
        return [piece.chunk for piece in await self.recovery.sweep()]


@pytest.fixture(autouse=True)
def at_first_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "SECOND_LOOK_S", 0.0)


def pauses_at_first(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stops a recovery that runs at its first pause; how long that was to be, in seconds."""
    pauses = []

    async def once(stopped: asyncio.Event, seconds: float) -> None:
        pauses.append(seconds)
        stopped.set()

    monkeypatch.setattr(recovery, "pause", once)
    return pauses


def play(redis_url: str, store: Store, act: Callable[[Scene], Awaitable[None]]) -> None:
    """Sets the scene, and acts."""

    async def once() -> None:
        own = settings(redis_url, chunk_tokens=1)
        connection, queue = Redis.from_url(redis_url), Queue(own)
        samples = [{"language": tag, **PAIR} for tag in ("de", "fr")]
        request = wire.FilterRequest.model_validate({"samples": samples})
        accepted = await Jobs(connection, own).create(request, SERVED, None)
        queue.enqueue_gradients(accepted.job_id, accepted.chunks, accepted.fingerprint)
        then = store.now() - 60
        store.redis.hset(keys.job(accepted.job_id), "created", then)
        store.redis.zadd(keys.JOBS_ACTIVE, {accepted.job_id: then})
        try:
            sweeper = Recovery(connection, connection, queue, Metrics())
            await act(Scene(accepted.job_id, store, store.redis, sweeper, connection))
        finally:
            queue.close()
            await connection.aclose()

    asyncio.run(once())


def test_what_waits_in_the_queue_is_left_there(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        assert await scene.sweep() == []
        assert await scene.waiting() == 2

    play(redis_url, store, act)


def test_a_message_that_vanished_between_queue_and_worker_is_sent_again_once(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        scene.take(noted=False)
        assert len(await scene.sweep()) == 1
        assert await scene.waiting() == 2
        assert await scene.sweep() == []

    play(redis_url, store, act)


def test_what_is_missing_at_one_look_only_is_on_its_way(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its turn and its start a piece neither waits nor is being done, and so is a message between the queue and
    the note that a worker has it."""

    async def act(scene: Scene) -> None:
        monkeypatch.setattr(recovery, "SECOND_LOOK_S", 60.0)
        scene.take(noted=False)
        assert store.turn(QUEUE) == (scene.job_id, 0)
        assert await scene.sweep() == []
        store.start(scene.job_id, 0)
        assert await scene.sweep() == []
        assert await scene.waiting() == 1

    play(redis_url, store, act)


def test_a_message_that_was_handed_out_and_not_followed_by_a_turn_is_missed_after_a_while(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scene: Scene) -> None:
        scene.take()
        assert await scene.sweep() == []
        monkeypatch.setattr(recovery, "HANDED_OUT_S", 0.0)
        assert len(await scene.sweep()) == 1

    play(redis_url, store, act)


def test_work_waits_again_when_its_worker_has_gone_silent_and_not_before(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        scene.take()
        assert store.turn(QUEUE) == (scene.job_id, 0)
        store.start(scene.job_id, 0)
        assert await scene.sweep() == []
        scene.fall_silent()
        assert await scene.sweep() == [0]
        assert store.turn(QUEUE) == (scene.job_id, 0), "it is the next"
        assert await scene.waiting() == 2

    play(redis_url, store, act)


def test_chunks_whose_job_has_no_turn_get_one(redis_url: str, store: Store) -> None:
    """Else their messages, sent again every second, would do the work of others as long as there is any."""

    async def act(scene: Scene) -> None:
        scene.redis.delete(*keys.turns(QUEUE))
        assert sorted(cast("list[int]", await scene.sweep())) == [0, 1]
        assert {store.turn(QUEUE) for _ in range(3)} == {(scene.job_id, 0), (scene.job_id, 1), None}

    play(redis_url, store, act)


def test_lost_work_waits_again_in_a_full_redis(redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way has to end there, for that frees memory; and workers look for it without a message."""

    async def act(scene: Scene) -> None:
        stopped = asyncio.Event()
        pauses = pauses_at_first(monkeypatch)
        assert store.turn(QUEUE) == (scene.job_id, 0)  # by a worker that dies
        scene.redis.config_set("maxmemory", 1)
        try:
            await scene.recovery.run(stopped)
        finally:
            scene.redis.config_set("maxmemory", 0)
        assert store.turn(QUEUE) == (scene.job_id, 0)
        assert pauses == [recovery.SWEEP_S]  # workers were heard there, and the next to die is missed as soon

    play(redis_url, store, act)


def test_in_a_broker_that_cannot_be_read_messages_are_missed_where_none_waits(redis_url: str, store: Store) -> None:
    """Redis, asked as other brokers are: how much waits, and not what is handed out."""

    async def act(scene: Scene) -> None:
        elsewhere = Recovery(scene.broker, None, Queue(settings(redis_url)), Metrics())
        scene.take()
        assert await elsewhere.sweep() == []  # what waits may be enough
        scene.take(noted=False)
        assert [piece.chunk for piece in await elsewhere.sweep()] == [0, 1]
        assert await scene.waiting() == 2
        assert await elsewhere.sweep() == []

    play(redis_url, store, act)


def test_a_broker_that_is_away_makes_nobody_wait_longer_for_the_next_look(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no Redis: workers are heard in the one that they all have."""

    async def act(scene: Scene) -> None:
        stopped = asyncio.Event()
        pauses = pauses_at_first(monkeypatch)
        away = Queue(settings(redis_url, broker_url=f"amqp://127.0.0.1:{free_port()}"))
        await Recovery(scene.broker, None, away, Metrics()).run(stopped)
        assert pauses == [recovery.SWEEP_S]

    play(redis_url, store, act)


def test_after_a_redis_that_was_away_workers_get_the_time_after_which_they_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> list[float]:
        pauses = pauses_at_first(monkeypatch)
        url = f"redis://127.0.0.1:{free_port()}"
        async with Redis.from_url(url) as nobody:
            await Recovery(nobody, nobody, Queue(settings(url)), Metrics()).run(asyncio.Event())
        return pauses

    # Whoever dies meanwhile is missed no later than 10 s afterwards, as at any other time.
    assert asyncio.run(scenario()) == [SILENT_S]


def test_work_that_its_worker_gave_back_is_not_sent_twice(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        scene.take()
        assert store.turn(QUEUE) == (scene.job_id, 0)
        store.start(scene.job_id, 0)
        store.leases.give_back()
        assert await scene.sweep() == []  # its message comes again as well
        assert store.turn(QUEUE) == (scene.job_id, 0)
        assert store.start(scene.job_id, 0).attempts == 1, "that was no attempt"

    play(redis_url, store, act)


def test_work_that_another_worker_is_at_is_not_started_and_counts_as_no_attempt(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        other = Store(settings(redis_url))
        assert store.start(scene.job_id, 0).attempts == 1
        assert other.start(scene.job_id, 0).attempts == 0
        other.leases.rest()  # is at nothing, and says nothing of what others are at
        assert other.start(scene.job_id, 1).attempts == 1
        store.leases.rest()
        assert other.start(scene.job_id, 0).attempts == 2
        other.redis.close()

    play(redis_url, store, act)


def test_a_heartbeat_says_what_its_worker_is_at_until_that_hangs(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        impatient = Store(settings(redis_url).model_copy(update={"visibility_timeout": 0}))
        for worker, says in ((store, True), (impatient, False)):
            worker.start(scene.job_id, 0)
            scene.fall_silent()
            beat = Heartbeat(worker, Role.DECIDE)
            beat.start()
            assert bool(scene.redis.exists(keys.doing(scene.job_id, keys.gradients_work(0)))) is says
            beat.stop()
            worker.leases.rest()
        impatient.redis.close()

    play(redis_url, store, act)


def test_a_decision_that_nobody_asked_for_is_asked_for(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        for number in range(2):
            scene.take(noted=False)
            assert store.turn(QUEUE) == (scene.job_id, number)
            store.start(scene.job_id, number)
            store.complete(scene.job_id, number, b"gradients")
            store.leases.rest()
        # The last worker died before it could ask, a while ago.
        scene.redis.hset(keys.job(scene.job_id), "gradients_done", store.now() - 10)
        assert await scene.sweep() == [None]
        assert await scene.waiting(keys.DECIDE_QUEUE) == 1
        assert await scene.sweep() == []

    play(redis_url, store, act)


def test_a_clock_that_is_put_back_hides_no_work(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        scene.take()
        assert store.turn(QUEUE) == (scene.job_id, 0)
        then = store.now() + 3600  # as it seems once the clock is an hour behind
        store.redis.hset(keys.job(scene.job_id), "created", then)
        store.redis.zadd(keys.JOBS_ACTIVE, {scene.job_id: then})
        assert await scene.sweep() == [0]

    play(redis_url, store, act)


def test_jobs_that_have_ended_are_left_alone(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        for _ in range(2):
            scene.take(noted=False)
        store.fail(scene.job_id, wire.Problem(title="t", status=500, detail="d"))
        assert await scene.sweep() == []

    play(redis_url, store, act)


def test_what_others_leave_in_the_broker_is_passed_over(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        for number, text in enumerate(("?", "[]", '{"a": 1}', json.dumps([{}, "", "another queue"]))):
            store.redis.hset(UNACKED, str(number), text)
        assert await scene.sweep() == []
        scene.take(noted=False)
        assert len(await scene.sweep()) == 1

    play(redis_url, store, act)


def test_a_worker_has_an_id_of_its_own_each_time(redis_url: str) -> None:
    first, second = Store(settings(redis_url)), Store(settings(redis_url))
    assert first.worker_id != second.worker_id
    beat = Heartbeat(first, Role.DECIDE)
    beat.start()
    assert first.redis.zscore(keys.workers(Role.DECIDE), first.worker_id) is not None
    beat.stop()
    assert first.redis.zscore(keys.workers(Role.DECIDE), first.worker_id) is None
    for each in (first, second):
        each.redis.close()


def test_a_sweep_that_fails_keeps_nobody_else_from_sweeping(
    redis_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scene: Scene) -> None:
        stopped = asyncio.Event()

        async def fails() -> None:
            stopped.set()
            raise RuntimeError("Redis is full")

        monkeypatch.setattr(scene.recovery, "sweep", fails)
        await scene.recovery.run(stopped)
        assert store.redis.pttl(keys.RECOVERY) <= 1000 * recovery.SWEEP_S

    play(redis_url, store, act)
