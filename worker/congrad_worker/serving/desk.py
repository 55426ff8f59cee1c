"""What a worker finds in Redis for itself to do, and what it leaves there of how far it is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from congrad.contract import wire
from congrad_service import keys
from congrad_service.http.errors import Unavailable, problem_of
from congrad_service.queue.orders import Order
from congrad_service.queue.publication import Asked, Successor, asked_in, deaths
from congrad_service.queue.registry import LIFETIME_S, Beat, Role
from congrad_service.scripts import NOTE, SETTLE, SUCCEED

from congrad_worker.tasks.store import Store

LATER_S = 3600
"""How long it can be read what became of a publication, once nobody serves what it has replaced."""


class Desk:
    """Of one worker."""

    def __init__(self, store: Store):
        self._store = store
        self._redis = store.redis
        self._worker = store.worker_id
        self._succeed = store.redis.register_script(SUCCEED)
        self._settle = store.redis.register_script(SETTLE)
        self._note = store.redis.register_script(NOTE)

    def wait(self, seconds: float) -> bool:
        """Until there is something to look at, or the time is up; whether there is."""
        found = self._redis.blpop([keys.told(self._worker)], timeout=seconds)
        self._redis.delete(keys.told(self._worker))
        return found is not None

    def order(self) -> Order | None:
        """What the worker was told last, to sleep or to wake."""
        text = cast("bytes | None", self._redis.get(keys.order(self._worker)))
        return None if text is None else Order.model_validate_json(text)

    def asked(self, fingerprint: str) -> Asked | None:
        """What is to take the place of a checkpoint; None where nothing is, or what is kills workers."""
        found = cast("bytes | None", self._redis.get(keys.publishing(fingerprint)))
        if found is None:
            return None
        raw = cast("dict[bytes, bytes]", self._redis.hgetall(keys.publication(found.decode())))
        workers = [wire.Loading.model_validate_json(text) for name, text in raw.items() if name.startswith(b"worker:")]
        return asked_in(raw) if raw and deaths(workers, self.serving()) is None else None

    def note(self, asked: Asked, stage: wire.Stage, waiting: int | None = None, error: str | None = None) -> None:
        """Says how far this worker is."""
        said = wire.Loading(
            worker=self._worker,
            stage=stage,
            since=datetime.fromtimestamp(self._store.now(), UTC),
            waiting=waiting,
            error=error,
        )
        self._note(keys=[keys.publication(asked.id)], args=[f"worker:{self._worker}", said.model_dump_json()])

    def name(self, asked: Asked, name: str, fingerprint: str) -> None:
        """Says what it is that was published."""
        self._note(keys=[keys.publication(asked.id)], args=["name", name, "fingerprint", fingerprint])

    def named(self, asked: Asked) -> str | None:
        """The fingerprint that the first worker has seen."""
        found = cast("bytes | None", self._redis.hget(keys.publication(asked.id), "fingerprint"))
        return None if found is None else found.decode()

    def successor(self, origin: str) -> Successor | None:
        """What workers serve that were started on a checkpoint; None where it is that."""
        text = cast("bytes | None", self._redis.hget(keys.PUBLISHED, origin))
        return None if text is None else Successor.model_validate_json(text)

    def succeed(self, origin: str, successor: Successor) -> None:
        """Writes that down. What has or was to take the place of what is served now is of no account any more, but for
        what was asked for later."""
        own = [keys.PUBLISHED, keys.publishing(successor.fingerprint)]
        self._succeed(keys=own, args=[origin, successor.model_dump_json()])

    def settle(self, asked: Asked) -> None:
        """Says that what was published is what it should replace: nothing is to take its place any more."""
        self.note(asked, "served")
        self._settle(keys=[keys.publishing(asked.replaces)], args=[asked.id])

    def waiting(self, queue: str, sequence: int | None = None) -> int:
        """How many jobs have work in a queue that no worker has taken, of those up to a number or of all."""
        members = cast("list[bytes]", self._redis.zrange(keys.turns(queue)[0], 0, -1))
        return sum(sequence is None or int(member.partition(b"/")[0]) <= sequence for member in members)

    def serving(self) -> Mapping[str, str]:
        """The fingerprints of what the live gradients workers serve, by their ids."""
        now = self._store.now()
        key = keys.workers(Role.GRADIENTS)
        ids = cast("list[bytes]", self._redis.zrangebyscore(key, now - LIFETIME_S, now + LIFETIME_S))
        workers = [worker.decode() for worker in ids]
        texts = cast("list[bytes | None]", self._redis.mget([keys.worker(one) for one in workers])) if workers else []
        beats = {one: Beat.model_validate_json(text) for one, text in zip(workers, texts, strict=True) if text}
        return {one: beat.announcement.fingerprint for one, beat in beats.items() if beat.announcement is not None}

    def give_up_waiting(self, queue: str, detail: str) -> None:
        """Ends the jobs that wait for a checkpoint which nobody can serve, and not those that come meanwhile."""
        members = cast("list[bytes]", self._redis.zrange(keys.turns(queue)[0], 0, -1))
        for member in members:
            self._store.fail(member.rpartition(b"/")[2].decode(), problem_of(Unavailable(detail)))
        if members:  # those that have expired, too
            self._redis.zrem(keys.turns(queue)[0], *members)

    def lapse(self, fingerprint: str) -> None:
        """Lets go soon what is known of a publication that has replaced a checkpoint which nobody serves any more."""
        found = cast("bytes | None", self._redis.get(keys.publishing(fingerprint)))
        if found is not None:
            self._redis.expire(keys.publishing(fingerprint), LATER_S)
            self._redis.expire(keys.publication(found.decode()), LATER_S)
