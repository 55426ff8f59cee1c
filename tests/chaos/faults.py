"""Faults of every kind, one after the other in a random order, at random moments."""

import random
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import redis
from congrad_service import keys
from support.refusals import REFUSALS

from chaos.parts import Part, Role
from chaos.stack import SupervisedStack

Gap = tuple[float, float]
"""Seconds before a fault: at least and at most."""

GAP_S: Gap = (0.5, 5.0)

MENDED = 2 / 3
"""The share of faults that come when what was hit before is there again; the others come whatever there is."""


class Kind(StrEnum):
    """What is done, and to which part."""

    KILL_CHILD = "SIGKILL of a gradients worker's pool process"
    KILL_WORKER = "SIGKILL of a whole gradients worker"
    KILL_DECIDE_CHILD = "SIGKILL of the decide worker's pool process"
    KILL_DECIDE = "SIGKILL of the whole decide worker"
    KILL_SERVICE = "SIGKILL of the service"
    KILL_REDIS = "SIGKILL of Redis"
    READONLY = "READONLY from Redis"
    MISCONF = "MISCONF from Redis"
    OOM = "OOM from Redis"
    PUBLISH = "publication of the other checkpoint"
    SLEEP = "sleep of the gradients workers"
    WAKE = "waking of the gradients workers"
    END_WORKER = "SIGTERM of a gradients worker"
    END_SERVICE = "SIGTERM of the service"

    @property
    def role(self) -> Role:
        """The part that it hits."""
        return _ROLES.get(self, Role.GRADIENTS)


_ROLES = {
    Kind.KILL_DECIDE_CHILD: Role.DECIDE,
    Kind.KILL_DECIDE: Role.DECIDE,
    Kind.KILL_SERVICE: Role.SERVICE,
    Kind.KILL_REDIS: Role.REDIS,
    Kind.END_SERVICE: Role.SERVICE,
    Kind.PUBLISH: Role.SERVICE,
    Kind.SLEEP: Role.SERVICE,
    Kind.WAKE: Role.SERVICE,
    Kind.READONLY: Role.REDIS,
    Kind.MISCONF: Role.REDIS,
    Kind.OOM: Role.REDIS,
}


ENDS = (Kind.END_WORKER, Kind.END_SERVICE)

TOLD = (Kind.PUBLISH, Kind.SLEEP, Kind.WAKE)
"""What the service is told. It may be away, or have no workers: then it is told again."""

LEVELS = ("offload", "discard")
"""How deep workers are told to sleep."""
REFUSED_S = (0.5, 3.0)
"""How long Redis says no: at least and at most."""

CHILDREN = (Kind.KILL_CHILD, Kind.KILL_DECIDE_CHILD)


@dataclass(frozen=True)
class Fault:
    """One fault; ``at`` is in seconds since 1970, and ``held`` the jobs of the tasks that a killed worker had."""

    kind: Kind
    at: float
    held: frozenset[str]


class Injector:
    """Deals the kinds like cards, so that each comes as often as the others, and picks a part that can be hit."""

    def __init__(self, stack: SupervisedStack, draw: random.Random, gap: Gap):
        self._stack = stack
        self._draw = draw
        self._gap = gap
        self._deck: list[Kind] = []
        self.faults: list[Fault] = []

    def run(self, seconds: float) -> None:
        """Injects faults for so long, or until there was one of each kind, and supervises meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(self.faults) < len(Kind):
            if self._draw.random() < MENDED:
                self._stack.wait_until_whole()
            self._stack.supervise_for(self._draw.uniform(*self._gap))
            self._strike()

    def _strike(self) -> None:
        if not self._deck:
            self._deck = self._draw.sample(list(Kind), len(Kind))
        kind = self._deck.pop()
        self._stack.wait_until(lambda: self._targets(kind))
        self.faults.append(self._inject(kind, self._draw.choice(self._targets(kind))))

    def _targets(self, kind: Kind) -> list[Part]:
        return [part for part in self._stack.of(kind.role) if _can_be_hit(kind, part)]

    def _inject(self, kind: Kind, part: Part) -> Fault:
        if kind in ENDS:
            fault = Fault(kind, time.time(), frozenset())
            part.terminate()
            return fault
        if kind in TOLD:
            level = self._draw.choice(LEVELS)
            self._stack.wait_until(lambda: self._is_told(kind, level))
            return Fault(kind, time.time(), frozenset())
        if kind.name in REFUSALS:
            fault = Fault(kind, time.time(), frozenset())
            with redis.Redis.from_url(self._stack.redis_url) as connection, REFUSALS[kind.name](connection):
                self._stack.supervise_for(self._draw.uniform(*REFUSED_S))
            return fault
        with part.held_still():
            fault = Fault(kind, time.time(), self._held(part))
            part.kill_child() if kind in CHILDREN else part.kill()
        return fault

    def _is_told(self, kind: Kind, level: str) -> bool:
        if kind is Kind.PUBLISH:
            return self._stack.publishes_the_other()
        return (
            self._stack.tells("/workers/sleep", level=level)
            if kind is Kind.SLEEP
            else self._stack.tells("/workers/wake")
        )

    def _held(self, part: Part) -> frozenset[str]:
        """The jobs that a worker is at, as far as Redis is there to tell."""
        if part.role not in (Role.GRADIENTS, Role.DECIDE):
            return frozenset()
        try:
            doing = list(self._stack.redis.scan_iter(keys.doing("*", "*"), count=1000))
            workers = cast("list[bytes | None]", self._stack.redis.mget(doing)) if doing else []
        except redis.RedisError:
            return frozenset()
        at = zip(doing, workers, strict=True)
        return frozenset(key.decode().split(":")[2] for key, worker in at if worker and _is_of(worker, part.child()))


def _is_of(worker: bytes, child: int | None) -> bool:
    """Whether a worker's id, HOST:PROCESS:…, is that of a process."""
    return worker.decode().split(":")[1] == str(child)


def _can_be_hit(kind: Kind, part: Part) -> bool:
    if kind in ENDS:
        # A process that has no handler yet dies of the signal, and there is nothing to see.
        return part.is_running and part.ready is not None
    return part.is_running and not part.struck and (kind not in CHILDREN or part.child() is not None)
