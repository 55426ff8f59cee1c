"""Checkpoints that workers have announced, remembered while none serves them, so that a request can wait for one.

Nobody serves a checkpoint whose workers were all taken away because there was nothing to do. A request for it is work
for them, and work brings them up: see `keys.unfinished`. What was announced says all that is needed to take it.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.background import pause
from congrad_service.queue.publication import read
from congrad_service.queue.registry import Announcement, Registry

MOST = 100
"""Checkpoints that are remembered; those that were served last."""

KEPT_S = 30 * 86_400
"""Since a worker was heard last."""

SWEEP_S = 5.0

REMEMBER = """
-- KEYS: known, seen   ARGV: most, seconds, fingerprint, what was announced, ...
local t = redis.call('TIME')
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[2], t[1], ARGV[i])
end
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', t[1] - ARGV[2])
for _, one in ipairs(redis.call('ZRANGE', KEYS[2], 0, -ARGV[1] - 1)) do gone[#gone + 1] = one end
for _, one in ipairs(gone) do
  redis.call('HDEL', KEYS[1], one)
  redis.call('ZREM', KEYS[2], one)
end
"""

log = logging.getLogger(__name__)


class Known:
    """The checkpoints that one Redis remembers."""

    def __init__(self, redis: Redis):
        self._redis = redis
        self._remember = redis.register_script(REMEMBER)

    async def remember(self, announced: Iterable[Announcement]) -> None:
        """Notes that these are served now, and forgets what has not been for long."""
        told = [part for one in announced for part in (one.fingerprint, one.model_dump_json())]
        await self._remember(keys=[keys.KNOWN, keys.KNOWN_SEEN], args=[MOST, KEPT_S, *told])

    async def checkpoints(self) -> list[wire.Checkpoint]:
        """All that are remembered, by name and fingerprint, as if no worker served them."""
        seen = cast("list[tuple[bytes, float]]", await self._redis.zrange(keys.KNOWN_SEEN, 0, -1, withscores=True))
        texts = await self._redis.hmget(keys.KNOWN, [name.decode() for name, _ in seen]) if seen else []
        told = cast("list[bytes | None]", texts)
        found = [_checkpoint(text, at) for text, (_, at) in zip(told, seen, strict=True) if text is not None]
        return sorted(found, key=lambda checkpoint: (checkpoint.name, checkpoint.fingerprint))

    async def forget(self, fingerprint: str) -> bool:
        """Whether it was remembered."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hdel(keys.KNOWN, fingerprint)
            pipe.zrem(keys.KNOWN_SEEN, fingerprint)
            found, _ = await pipe.execute()
        return bool(found)


class Remembering:
    """Looks at what workers announce, and remembers it; and forgets what has been replaced in them: whoever starts the
    workers of that brings up its successor's."""

    def __init__(self, redis: Redis, known: Known, registry: Registry):
        self._redis = redis
        self._known = known
        self._registry = registry

    async def run(self, stopped: asyncio.Event) -> None:
        """Looks until it is stopped."""
        while not stopped.is_set():
            try:
                await self.look()
            except Exception as error:  # the next look is another try, and must come
                log.warning("could not remember the checkpoints: %s: %s", type(error).__name__, error)
            await pause(stopped, SWEEP_S)

    async def look(self) -> None:
        """Does it once."""
        announced = await self._registry.announced()
        await self._known.remember(announced)
        live = {one.fingerprint for one in announced}
        for checkpoint in await self._known.checkpoints():
            if checkpoint.fingerprint not in live and await self._is_replaced(checkpoint.fingerprint):
                await self._known.forget(checkpoint.fingerprint)

    async def _is_replaced(self, fingerprint: str) -> bool:
        found = cast("bytes | None", await self._redis.get(keys.publishing(fingerprint)))
        if found is None:
            return False
        raw = cast("dict[bytes, bytes]", await self._redis.hgetall(keys.publication(found.decode())))
        if not raw:
            return False
        publication = read(raw, {})
        is_itself = publication.fingerprint == fingerprint  # published once more while it was served
        return publication.status is wire.PublicationStatus.SERVED and not is_itself


def _checkpoint(text: bytes, seen: float) -> wire.Checkpoint:
    announced = Announcement.model_validate_json(text)
    about = announced.model_dump(exclude={"device"})
    return wire.Checkpoint(**about, devices=[], workers=0, seen=datetime.fromtimestamp(seen, UTC))
