"""What a job takes up in Redis, and why there may be no room for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys, scripts
from congrad_service.http.errors import (
    RETRY_AFTER_S,
    Conflict,
    ContentTooLarge,
    QueueFull,
    ServiceError,
    Unavailable,
)
from congrad_service.settings import IN_REDIS, ServiceSettings

BESIDE = 512
"""Bytes of a sample's norm, id, language and keys, beside its gradient."""


REFERENCE = 256
"""Bytes of the name of a chunk's file in the gradient store, with its key."""


@dataclass(frozen=True)
class Gradients:
    """Bytes of the gradients that a job will have: ``awaited`` by Redis, and ``retained`` once it has ended, wherever
    they are."""

    awaited: int
    retained: int


def gradient_bytes(dim: int, bits: int = 16) -> int:
    """Bytes of one sample's gradient of ``dim`` numbers, of so many bits each."""
    return dim * bits // 8 + BESIDE


def retained_bits(settings: ServiceSettings) -> int:
    """Those of each number of a gradient that is retained."""
    return 16 if settings.gradient_store == IN_REDIS else settings.gradient_bits


async def room(redis: Redis, settings: ServiceSettings, team: str | None) -> wire.Room:
    """What there is for gradients that a team's jobs retain. Of the gradient store no more is told than its kind."""
    read = redis.register_script(scripts.ROOM)
    retained, *free = cast("list[bytes]", await read(keys=[keys.JOBS_ACTIVE, keys.retained(team)]))
    return wire.Room(
        retained_bytes=int(float(retained)),
        limit_bytes=settings.max_retained_bytes,
        free_bytes=max(int(float(free[0])), 0) if free else None,
        store=settings.gradient_store.partition(":")[0],
        bits=retained_bits(settings),
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def _bytes(held: int, settings: ServiceSettings) -> ServiceError:
    bound = f"{_mib(settings.max_queue_bytes)} at most (CONGRAD_MAX_QUEUE_BYTES)"
    detail = f"unfinished jobs take up {_mib(held)} of Redis, and {bound}; try again later, or with fewer samples"
    return QueueFull(detail, retry_after=RETRY_AFTER_S)


def _memory(free: int, _: ServiceSettings) -> ServiceError:
    left = f"{_mib(free)} left, which the jobs that it holds will need" if free > 0 else "no memory left"
    return Unavailable(f"the store of jobs and directions has {left}; try again later", retry_after=RETRY_AFTER_S)


def _large(most: int, _: ServiceSettings) -> ServiceError:
    return ContentTooLarge(f"the gradients of so many samples do not fit into Redis's {_mib(most)}; send fewer at once")


def _retained(held: int, settings: ServiceSettings) -> ServiceError:
    bound = f"{_mib(settings.max_retained_bytes)} at most (CONGRAD_MAX_RETAINED_BYTES)"
    return Conflict(f"jobs retain {_mib(held)} of gradients, and {bound}; rescore some of them, or DELETE them")


REFUSED: dict[str, Callable[[int, ServiceSettings], ServiceError]] = {
    "bytes": _bytes,
    "memory": _memory,
    "large": _large,
    "retained": _retained,
}
"""By what `scripts.CREATE` says: errors from the bytes that it says with it."""
