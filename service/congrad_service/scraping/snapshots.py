"""What Redis says at one moment, for Prometheus: read for each scrape, and not waited for longer than that can wait."""

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from congrad.contract import wire
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from congrad_service import keys
from congrad_service.access import teams
from congrad_service.background import in_time
from congrad_service.http.errors import Unavailable
from congrad_service.queue.registry import Role, without
from congrad_service.state import State

T = TypeVar("T")

DEADLINE_S = 2.0
"""Prometheus waits for ten seconds, as a rule."""

MAX_DIRECTIONS = 50
"""Users name directions, and each name costs series: only those that changed last are told of."""

MAX_WEIGHTS = 1000
"""Series of languages: each of a direction is one."""


@dataclass(frozen=True)
class DirectionState:
    """One direction, the samples of all languages that are folded into it, and what each language counts in it.

    The time is in seconds of the epoch.
    """

    name: str
    version: int
    updated: float
    norm: float
    samples: int
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Memory:
    """What Redis uses, and what it may use (None: as much as there is), in bytes."""

    used: int
    most: int | None


@dataclass(frozen=True)
class Snapshot:
    """All of it. ``queue`` is None where Celery's broker does not answer. ``waiting_checkpoints`` are those that nobody
    serves, and that requests are taken for. ``directions`` are those of one team that
    changed last, of ``direction_count`` in all; ``memory`` is None where Redis does not tell this user."""

    queue: wire.Queue | None
    checkpoints: Sequence[wire.Checkpoint]
    waiting_checkpoints: int
    decide_workers: int
    directions: Sequence[DirectionState]
    direction_count: int
    memory: Memory | None


async def snapshot(state: State) -> Snapshot | None:
    """The present one; None where Redis does not answer in time."""
    return await _in_time(_read(state), DEADLINE_S)


async def _in_time(read: Coroutine[Any, Any, T], seconds: float) -> T | None:
    """What is read; None where that takes too long, or fails."""
    try:
        return await in_time(read, seconds)
    except (RedisError, Unavailable, TimeoutError):
        return None


async def _read(state: State) -> Snapshot:
    names = await state.directions.names()
    live = await state.registry.served()
    return Snapshot(
        queue=await _in_time(state.depth.read(), DEADLINE_S / 2),
        checkpoints=live,
        waiting_checkpoints=len(without(await state.known_checkpoints(), live)),
        decide_workers=len(await state.registry.live(Role.DECIDE)),
        directions=await _directions(state.redis, [teams.qualified(state.directions.team, name) for name in names]),
        direction_count=len(names),
        memory=await _memory(state.redis),
    )


async def _directions(redis: Redis, qualified: Sequence[str]) -> list[DirectionState]:
    updated = await _fields(redis, qualified, ["updated"])
    times = {name: float(found[0]) for name, found in zip(qualified, updated, strict=True) if found[0] is not None}
    latest = sorted(times, key=lambda name: (-times[name], name))[:MAX_DIRECTIONS]
    described = await _fields(redis, latest, ["version", "updated", "geometry", "languages"])
    # Beside the requests: what is written of hundreds of languages takes a while to read.
    return await asyncio.to_thread(_states, latest, described)


async def _fields(redis: Redis, qualified: Sequence[str], fields: list[str]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipe:
        for name in qualified:
            pipe.hmget(keys.direction(name), fields)
        return await pipe.execute()


def _states(names: Sequence[str], described: Sequence[Sequence[bytes | None]]) -> list[DirectionState]:
    pairs = zip(names, described, strict=True)
    return [_state(name, *cast("Sequence[bytes]", found)) for name, found in pairs if None not in found]


def _state(name: str, version: bytes, updated: bytes, geometry: bytes, languages: bytes) -> DirectionState:
    shown = json.loads(geometry)
    return DirectionState(
        name=teams.plain(name),
        version=int(version),
        updated=float(updated),
        norm=shown["norm"],
        samples=sum(language["samples"] for language in json.loads(languages).values()),
        weights=shown.get("weights", {}),
    )


async def _memory(redis: Redis) -> Memory | None:
    try:
        told = await redis.info("memory")
    except NoPermissionError:
        return None
    return Memory(told["used_memory"], told["maxmemory"] or None)
