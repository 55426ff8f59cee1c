"""Which workers are alive, and what they serve.

A worker that has loaded its checkpoint announces it every `HEARTBEAT_S` seconds; it counts as alive for `LIFETIME_S`
after the last announcement. A heartbeat says that the process that computes is there, which Celery's ping (answered by
its parent) does not.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import cast

from congrad import wire
from pydantic import BaseModel
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.errors import RETRY_AFTER_S, Conflict, Unavailable, Unprocessable

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
    unit_gradients: bool
    modules: int
    coverage: float
    shared_prompts: bool
    max_length: int
    dtype: str
    device: str


class Registry:
    """The live workers of one Redis."""

    def __init__(self, redis: Redis):
        self._redis = redis

    async def live(self, role: Role) -> list[str]:
        """Ids of the live workers of a role."""
        seconds, micros = await self._redis.time()
        oldest = seconds + micros / 1e6 - LIFETIME_S
        ids = await self._redis.zrangebyscore(keys.workers(role), oldest, "+inf")
        return [worker.decode() for worker in cast("list[bytes]", ids)]

    async def checkpoints(self) -> list[wire.Checkpoint]:
        """What the live gradients workers serve, one entry a fingerprint."""
        ids = await self.live(Role.GRADIENTS)
        texts = await self._redis.mget([keys.worker(worker) for worker in ids]) if ids else []
        return _merge(Announcement.model_validate_json(text) for text in texts if text is not None)

    async def choose(self, wanted: str | None, direction_fingerprint: str | None) -> wire.Checkpoint:
        """The checkpoint that a request is computed with.

        :param wanted: name or fingerprint from the request; None leaves the choice to the direction.
        :param direction_fingerprint: whose gradients the direction holds; None if it does not exist.
        :raises Unavailable: no live worker serves it.
        :raises Unprocessable: nothing was asked for and there is more than one to choose from.
        :raises Conflict: the direction belongs to another checkpoint, projection or loss.
        """
        live = await self.checkpoints()
        if not live:
            raise Unavailable("no worker is ready", retry_after=RETRY_AFTER_S)
        served = ", ".join(f"{c.name} ({c.fingerprint})" for c in live)
        matching = [c for c in live if wanted is None or wanted in (c.name, c.fingerprint)]
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


def _merge(announcements: Iterable[Announcement]) -> list[wire.Checkpoint]:
    merged: dict[str, wire.Checkpoint] = {}
    for announced in announcements:
        checkpoint = merged.setdefault(
            announced.fingerprint,
            wire.Checkpoint(**announced.model_dump(exclude={"device"}), devices=[], workers=0),
        )
        checkpoint.devices.append(announced.device)
        checkpoint.workers += 1
    return sorted(merged.values(), key=lambda c: (c.name, c.fingerprint))
