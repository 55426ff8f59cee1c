"""What a worker is at, and says so of: each piece is a key in Redis that others see, and that lapses unless it is kept
alive."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from congrad_service import keys, scripts
from congrad_service.queue.registry import LIFETIME_S, SILENT_S, Role
from redis import Redis
from redis.commands.core import Script
from redis.exceptions import RedisError


@dataclass(frozen=True)
class Lease:
    """A piece of work that a worker is at, the key that says so, and until when that is kept alive."""

    job_id: str
    work: str
    key: str
    until: float


class Leases:
    """Those of one worker: pieces of work, and at most one direction that it is about to write.

    :param worker_id: no other worker's.
    :param longest: seconds after which a piece of work is kept alive no more. One that hangs for longer than any task
        takes should be replaced, although its process is there.
    """

    def __init__(self, redis: Redis, worker_id: str, longest: float):
        self.queue: str | None = None
        """That the last turn was of: what is given back goes there."""
        self._redis = redis
        self._worker_id = worker_id
        self._longest = longest
        self._held: dict[tuple[str, str], Lease] = {}  # by job and piece of work
        self._writing: str | None = None  # the key that says which direction this worker is about to write
        self._saying = threading.Lock()  # a heartbeat that is under way must not say again what has just been ended
        self._write = redis.register_script(scripts.WRITE)
        self._beat = redis.register_script(scripts.BEAT)
        self._give_back = redis.register_script(scripts.GIVE_BACK)

    def begin(
        self, start: Script, job_id: str, work: str, role: Role, more: Sequence[str], *arguments: int
    ) -> list[Any]:
        """Takes a piece of work by a script, if no other worker is at it.

        :param more: keys that the script takes after those that all of its kind take, as it does ``arguments``.
        :returns: what the script says; first, how often this was begun, 0 if the worker is not at it.
        """
        lease = Lease(job_id, work, keys.doing(job_id, work), time.monotonic() + self._longest)
        of_it = [keys.job(job_id), lease.key, keys.workers(role), *more]
        found = cast("list[Any]", start(keys=of_it, args=[job_id, work, self._worker_id, SILENT_S, *arguments]))
        with self._saying:
            if found[0]:
                self._held[job_id, work] = lease
            else:
                self._held.pop((job_id, work), None)
        return found

    @contextmanager
    def unsaid(self) -> Iterator[None]:
        """No heartbeat says meanwhile what this worker is at: see `ended`."""
        with self._saying:
            yield

    def ended(self, job_id: str, work: str) -> None:
        """Redis has ended a piece of work, and with it the writing of a direction that was part of it. To be said
        while it is `unsaid`, together with the command that does."""
        self._held.pop((job_id, work), None)
        self._writing = None

    def give_back(self, piece: tuple[str, str] | None = None, memory: bool = False) -> None:
        """Gives back what this worker is at and cannot do, as Redis does not let it; where Redis does not let that
        either, it is missed once this worker has fallen silent about it.

        :param piece: the one of several, a job and its work.
        :param memory: Redis has none; `Store.has_waited` says for how long.
        """
        with self._saying:
            for at in self._taken(piece):
                if self.queue is None:
                    continue
                number = at.work.partition(":")[2]  # of a chunk; a decision has none
                with suppress(RedisError):
                    self._give_back(
                        keys=[*keys.turns(self.queue), keys.job(at.job_id), keys.ready_chunks(at.job_id), at.key],
                        args=[at.work, self._worker_id, number, int(memory)],
                    )

    def rest(self, piece: tuple[str, str] | None = None) -> None:
        """This worker is at nothing any more.

        :param piece: or not at this one of several, a job and its work.
        """
        with self._saying:
            for at in self._taken(piece):
                with suppress(RedisError):  # it lapses by itself
                    self._redis.delete(at.key)

    def writes(self, direction: str) -> bool:
        """Whether this worker is the one that writes a direction."""
        return self._writing == keys.writer(direction)

    def begun_writing(self, direction: str) -> None:
        """It is the one now, as Redis has said beside something else."""
        with self._saying:
            self._writing = keys.writer(direction)

    def may_write(self, job_id: str, direction: str) -> bool:
        """Whether this worker is the one that writes a direction, from now on, until `has_written`; of several, one at
        a time. Who writes without asking writes as safely, and perhaps for nothing."""
        key = keys.writer(direction)
        with self._saying:
            if self._writing != key:
                found = self._write(keys=[keys.job(job_id), key], args=[self._worker_id, SILENT_S])
                self._writing = key if found else None
            return self._writing is not None

    def has_written(self) -> None:
        """This worker writes no direction any more."""
        with self._saying:
            key, self._writing = self._writing, None
            if key is not None:
                with suppress(RedisError):  # it lapses by itself
                    self._redis.delete(key)

    def _taken(self, piece: tuple[str, str] | None) -> list[Lease]:
        """What it was at, and is no more."""
        ended = list(self._held) if piece is None else [piece]
        return [self._held.pop(one) for one in ended if one in self._held]

    def beat(self, role: str, said: str) -> None:
        """Says that this worker is there, and what it is at, if it is at anything.

        :param said: what else it has to say of itself.
        """
        with self._saying:
            at = [one.key for one in self._held.values() if time.monotonic() < one.until]
            at += [self._writing] if at and self._writing else []
            self._beat(
                keys=[keys.worker(self._worker_id), keys.workers(role), *at],
                args=[self._worker_id, said, LIFETIME_S, SILENT_S],
            )

    def leave(self, role: str) -> None:
        """Takes back what `beat` said."""
        self._redis.zrem(keys.workers(role), self._worker_id)
        self._redis.delete(keys.worker(self._worker_id))
