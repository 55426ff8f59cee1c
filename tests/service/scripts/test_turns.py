"""Whose turn it is, over a real Redis: shares of teams and of jobs, and that nobody waits for thousands."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, cast

from congrad.contract import wire
from congrad_service import keys
from congrad_service.jobs.jobs import Jobs
from congrad_service.queue.registry import Role
from congrad_service.scripts.limits import TOLD_S
from congrad_worker.tasks.store import Store
from redis.asyncio import Redis
from support.bench import SERVED
from support.serving import settings

QUEUE = keys.gradients_queue(SERVED.fingerprint)


class Scene:
    """Teams that ask, and one worker that is as fast as it is asked for its turns."""

    def __init__(self, redis: Redis, redis_url: str, store: Store):
        self.store = store
        self._redis = redis
        self._settings = settings(redis_url, chunk_tokens=40)

    async def ask(self, team: str | None, samples: int, length: int = 100) -> str:
        """A job with a chunk for each sample."""
        rows = [{"language": "de", "prompt": "p", "chosen": "c" * length, "rejected": "r"} for _ in range(samples)]
        request = wire.FilterRequest.model_validate({"samples": rows})
        return (await Jobs(self._redis, self._settings, team).create(request, SERVED, None)).job_id

    async def cancel(self, job_id: str) -> None:
        """A job without a team."""
        await Jobs(self._redis, self._settings).cancel(job_id)

    def turns(self, count: int) -> list[str]:
        """The jobs of so many turns."""
        found = [self.store.turn(QUEUE) for _ in range(count)]
        return [turn[0] for turn in found if turn is not None]


def play(redis_url: str, store: Store, act: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def once() -> None:
        async with Redis.from_url(redis_url) as redis:
            await act(Scene(redis, redis_url, store))

    asyncio.run(once())


def test_chunks_of_one_job_come_in_their_order_and_each_once(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        job = await scene.ask(None, 5)
        assert [store.turn(QUEUE) for _ in range(6)] == [*((job, number) for number in range(5)), None]

    play(redis_url, store, act)


def test_a_small_job_is_next_whatever_was_there_before(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        large = await scene.ask(None, 300)
        assert scene.turns(40) == [large] * 40
        small = [await scene.ask(None, 1) for _ in range(3)]
        assert scene.turns(5) == [*small, large, large], "in the order in which they came"

    play(redis_url, store, act)


def test_two_teams_get_equal_shares_whatever_each_of_them_asks_for(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        busy = {await scene.ask("busy", 40, length=300) for _ in range(4)}
        lean = await scene.ask("lean", 100, length=100)
        assert set(scene.turns(1)) <= busy
        shares = Counter("busy" if job in busy else "lean" for job in scene.turns(90))
        # Of equal bytes: a sample of the one has about twice those of the other's.
        assert 1.6 < shares["lean"] / shares["busy"] < 2.4
        assert lean in scene.turns(3)

    play(redis_url, store, act)


def test_who_was_away_has_no_credit(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        large = await scene.ask("a", 300)
        scene.turns(100)
        late = await scene.ask("b", 100)
        assert abs(Counter(scene.turns(60))[late] - 30) <= 1
        assert Counter(scene.turns(60))[large] == 30

    play(redis_url, store, act)


def test_a_stream_of_small_jobs_keeps_no_large_one_from_its_turns(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        large = await scene.ask("a", 300)
        scene.turns(5)
        served: Counter[str] = Counter()
        small = await scene.ask("a", 1)
        for _ in range(60):
            (job,) = scene.turns(1)
            served[job] += 1
            if job == small:  # as soon as it has its turn there is the next
                small = await scene.ask("a", 1)
        assert served[large] >= 15

    play(redis_url, store, act)


def test_what_waits_for_workers_that_never_come_lapses_with_its_jobs(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        job = await scene.ask("a", 3)
        left = store.redis.ttl(keys.job(job))
        assert {store.redis.ttl(key) for key in keys.turns(QUEUE) if store.redis.exists(key)} <= {left, left - 1}
        scene.turns(3)
        for key in keys.turns(QUEUE):
            assert store.redis.ttl(key) != -1

    play(redis_url, store, act)


def test_what_one_worker_gives_back_another_does(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        job, other = await scene.ask("a", 1), Store(settings(redis_url))
        for worker in (store, other):
            worker.leases.beat(Role.GRADIENTS, "{}")
        for worker in (store, other, store):
            assert worker.turn(QUEUE) == (job, 0)
            assert worker.start(job, 0).attempts == 1
            worker.leases.give_back()
        store.redis.delete(keys.job(job))
        assert other.start(job, 0).attempts == 0
        other.leases.give_back()
        assert not store.redis.exists(keys.job(job)), "what has expired does not come back"
        other.redis.close()

    play(redis_url, store, act)


def test_a_job_that_was_cancelled_has_no_turn(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        first, second = [await scene.ask(None, 2) for _ in range(2)]
        store.fail(first, wire.Problem(title="t", status=500, detail="d"))
        assert scene.turns(3) == [second, second]
        assert not store.redis.exists(*keys.turns(QUEUE)), "nothing is left behind"

    play(redis_url, store, act)


def test_who_posts_and_cancels_makes_nobody_s_turn_longer(redis_url: str, store: Store) -> None:
    """What is cancelled does not count in the queue: thousands of such jobs would be looked through at each turn, and
    while Redis looks it does nothing else."""

    async def act(scene: Scene) -> None:
        first = await scene.ask(None, 1)
        for _ in range(3):
            await scene.cancel(await scene.ask(None, 2))
        decided = await scene.ask(None, 1)
        store.start(decided, 0)
        store.complete(decided, 0, b"gradients")
        await scene.cancel(decided)
        ready = [keys.turns(queue)[0] for queue in (QUEUE, keys.DECIDE_QUEUE)]
        (member,) = cast("list[bytes]", store.redis.zrange(ready[0], 0, -1))
        assert member.rpartition(b"/")[2].decode() == first
        assert not store.redis.exists(ready[1])
        assert scene.turns(2) == [first]

    play(redis_url, store, act)


def test_a_worker_that_has_nothing_to_do_is_told_of_work_that_waits_alone(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        job = await scene.ask(None, 1)
        assert store.is_told(QUEUE, 5)
        assert store.turn(QUEUE, alone=True) == (job, 0)
        jobs = [await scene.ask(team, 1) for team in (None, "a")]
        assert store.is_told(QUEUE, 5)
        assert store.turn(QUEUE, alone=True) is None, "what waits beside others is handed out by messages"
        assert sorted(scene.turns(3)) == sorted(jobs)
        await scene.ask(None, 1)
        scene.turns(1)
        assert not store.is_told(QUEUE, 0.01), "somebody has it"
        await scene.ask(None, 1)
        assert 0 < store.redis.ttl(keys.waking(QUEUE)) <= TOLD_S

    play(redis_url, store, act)


def test_decisions_have_turns_of_their_own(redis_url: str, store: Store) -> None:
    async def act(scene: Scene) -> None:
        jobs = [await scene.ask(team, 1) for team in ("a", "a", "b")]
        for job in jobs:
            store.start(job, 0)
            store.complete(job, 0, b"gradients")
        order = [store.turn(keys.DECIDE_QUEUE) for _ in range(4)]
        assert order == [(jobs[0], None), (jobs[2], None), (jobs[1], None), None]

    play(redis_url, store, act)
