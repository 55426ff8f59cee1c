"""Which workers are alive, and what they serve.

A worker that has loaded its checkpoint announces it every `HEARTBEAT_S` seconds; it counts as alive for `LIFETIME_S`
after the last announcement. A heartbeat says that the process that computes is there, which Celery's ping (answered by
its parent) does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import cast

from congrad.contract import wire
from pydantic import BaseModel
from redis.asyncio import Redis

from congrad_service import keys, scripts
from congrad_service.http.errors import RETRY_AFTER_S, Conflict, Unavailable, Unprocessable
from congrad_service.queue.publication import read

HEARTBEAT_S = 1.0
LIFETIME_S = 12
SILENT_S = 5
"""Without a heartbeat for so long, a worker has lost what it was at. If it has not, the work is done twice."""


class Role(StrEnum):
    """What a worker does."""

    GRADIENTS = "gradients"
    """Computes compressed gradients against a checkpoint."""
    DECIDE = "decide"
    """Folds jobs into directions and scores them; needs no checkpoint."""


class Announcement(BaseModel):
    """What one gradients worker serves. Equal fingerprints mean comparable gradients."""

    name: str
    fingerprint: str
    loss: str
    beta: float
    reference: str
    projection: wire.Projection
    target_modules: str | None
    layers: str = "all"
    unit_gradients: bool
    modules: int
    coverage: float
    shared_prompts: bool
    max_length: int
    dtype: str
    device: str


class Status(BaseModel):
    """How a worker is doing; `wire.Worker` says what that means. ``started`` is in seconds, by Redis's clock."""

    started: float
    busy: bool
    tasks: int
    tokens_per_s: float | None
    memory: wire.Memory | None
    asleep: wire.SleepLevel | None = None
    order: int = 0


class Beat(BaseModel):
    """What a worker says each time; a decide worker serves nothing."""

    announcement: Announcement | None
    status: Status


@dataclass(frozen=True)
class Live:
    """What the live gradients workers serve, one entry a fingerprint, and whether there is a worker that decides."""

    served: list[wire.Checkpoint]
    decides: bool


class Registry:
    """The live workers of one Redis."""

    def __init__(self, redis: Redis):
        self._redis = redis
        self._live = redis.register_script(scripts.LIVE)

    async def live(self, role: Role) -> list[str]:
        """Ids of the live workers of a role."""
        (heard,) = await self._heard(role)
        return [worker for worker, _ in heard]

    async def look(self) -> "Live":
        """What a request needs to know, at once."""
        gradients, decide = await self._heard(Role.GRADIENTS, Role.DECIDE)
        return Live(_merge(_read(gradients).values()), bool(decide))

    async def workers(self) -> list[wire.Worker]:
        """The live workers: those that compute gradients by their checkpoints, then those that decide."""
        found = [
            _worker(worker, role, beat, seen)
            for role in Role
            for (worker, seen), beat in (await self._beats(role)).items()
        ]
        return sorted(found, key=lambda one: (one.checkpoint is None, one.checkpoint or "", one.started, one.id))

    async def announced(self) -> list[Announcement]:
        """What each live gradients worker says that it serves."""
        beats = (await self._beats(Role.GRADIENTS)).values()
        return [beat.announcement for beat in beats if beat.announcement is not None]

    async def served(self) -> list[wire.Checkpoint]:
        """What the live gradients workers serve, one entry a fingerprint."""
        return _merge((await self._beats(Role.GRADIENTS)).values())

    async def checkpoints(self) -> list[wire.Checkpoint]:
        """The same, each with what takes its place."""
        beats = await self._beats(Role.GRADIENTS)
        served, live = _merge(beats.values()), _serving(beats)
        names = [keys.publishing(one.fingerprint) for one in served]
        ids = cast("list[bytes | None]", await self._redis.mget(names)) if names else []
        for checkpoint, found in zip(served, ids, strict=True):
            raw = {} if found is None else await self._redis.hgetall(keys.publication(found.decode()))
            checkpoint.publication = read(cast("dict[bytes, bytes]", raw), live) if raw else None
        return served

    async def serving(self) -> dict[str, str]:
        """The fingerprints of what the live gradients workers serve, by their ids."""
        return _serving(await self._beats(Role.GRADIENTS))

    async def are_asleep(self) -> bool:
        """Whether all of them sleep until there is work."""
        beats = await self._beats(Role.GRADIENTS)
        return bool(beats) and all(beat.status.asleep is not None for beat in beats.values())

    async def _coming(self) -> list[wire.Checkpoint]:
        """What is on its way into workers, as far as they have looked at it: as what it replaces, with its own name."""
        found = [(one, one.publication) for one in await self.checkpoints()]
        return [
            one.model_copy(update={"name": coming.name, "fingerprint": coming.fingerprint, "publication": None})
            for one, coming in found
            if coming is not None and coming.fingerprint is not None and not coming.status.ended
        ]

    async def _heard(self, *roles: Role) -> list[dict[tuple[str, float], bytes | None]]:
        """What the live workers of each role said last, by id and when."""
        found = await self._live(keys=[keys.workers(role) for role in roles], args=[LIFETIME_S])
        return [
            {
                (worker.decode(), float(seen)): text
                for worker, seen, text in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            }
            for flat in cast("list[list[bytes]]", found)
        ]

    async def _beats(self, role: Role) -> dict[tuple[str, float], Beat]:
        """The same of one, read."""
        (heard,) = await self._heard(role)
        return _read(heard)

    async def choose(
        self,
        live: Sequence[wire.Checkpoint],
        wanted: str | None,
        direction_fingerprint: str | None,
        known: Sequence[wire.Checkpoint] = (),
    ) -> wire.Checkpoint:
        """The checkpoint that a request is computed with.

        :param live: what the live workers serve.
        :param wanted: name or fingerprint from the request; None leaves the choice to the direction.
        :param direction_fingerprint: whose gradients the direction holds; None if it does not exist.
        :param known: those that need not be served: where none that is will do, a request waits for one of them.
        :raises Unavailable: no live worker serves it.
        :raises Unprocessable: nothing was asked for and there is more than one to choose from.
        :raises Conflict: the direction belongs to another checkpoint, projection or loss.
        """
        away = without(known, live)
        if not (live or away):
            raise Unavailable("no worker is ready", retry_after=RETRY_AFTER_S)
        served = ", ".join(f"{c.name} ({c.fingerprint})" for c in live or away)
        # Unless a direction asks for them, those that are away are no choice beside those that are there.
        asked_for = [c for c in away if c.fingerprint == direction_fingerprint]
        matching = _matching([*live, *asked_for], wanted)
        if wanted is not None:
            matching = matching or _matching(await self._coming(), wanted)
        matching = matching or _matching(away, wanted)
        if not matching:
            raise Unavailable(f"no worker serves checkpoint {wanted!r}; served: {served}", retry_after=RETRY_AFTER_S)
        own = [c for c in matching if c.fingerprint == direction_fingerprint]
        if own:
            return own[0]
        if direction_fingerprint is not None:
            raise Conflict(
                f"the direction belongs to checkpoint {direction_fingerprint}; another checkpoint, projection or "
                f"loss needs a direction of its own, or a reset of this one (served: {served})"
            )
        if len(matching) > 1:
            raise Unprocessable(
                f"several checkpoints are served; say which in 'checkpoint': {served}",
                [wire.ProblemError(pointer="/checkpoint", detail="is needed to choose a checkpoint")],
            )
        return matching[0]


def _read(heard: Mapping[tuple[str, float], bytes | None]) -> dict[tuple[str, float], Beat]:
    return {one: Beat.model_validate_json(text) for one, text in heard.items() if text is not None}


def without(known: Sequence[wire.Checkpoint], live: Sequence[wire.Checkpoint]) -> list[wire.Checkpoint]:
    """Those of the known checkpoints that nobody serves."""
    served = {checkpoint.fingerprint for checkpoint in live}
    return [checkpoint for checkpoint in known if checkpoint.fingerprint not in served]


def _matching(checkpoints: Sequence[wire.Checkpoint], wanted: str | None) -> list[wire.Checkpoint]:
    return [one for one in checkpoints if wanted is None or wanted in (one.name, one.fingerprint)]


def _worker(worker: str, role: Role, beat: Beat, seen: float) -> wire.Worker:
    served = beat.announcement
    return wire.Worker(
        id=worker,
        role=role.value,
        checkpoint=served.name if served else None,
        fingerprint=served.fingerprint if served else None,
        device=served.device if served else "cpu",
        started=datetime.fromtimestamp(beat.status.started, UTC),
        seen=datetime.fromtimestamp(seen, UTC),
        **beat.status.model_dump(exclude={"started"}),
    )


def _serving(beats: Mapping[tuple[str, float], Beat]) -> dict[str, str]:
    return {
        worker: beat.announcement.fingerprint for (worker, _), beat in beats.items() if beat.announcement is not None
    }


def _merge(beats: Iterable[Beat]) -> list[wire.Checkpoint]:
    merged: dict[str, wire.Checkpoint] = {}
    for beat in beats:
        if (announced := beat.announcement) is None:
            continue
        checkpoint = merged.setdefault(
            announced.fingerprint,
            wire.Checkpoint(**announced.model_dump(exclude={"device"}), devices=[], workers=0),
        )
        checkpoint.devices.append(announced.device)
        checkpoint.workers += 1
        checkpoint.asleep += beat.status.asleep is not None
    return sorted(merged.values(), key=lambda c: (c.name, c.fingerprint))
