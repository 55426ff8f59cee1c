"""Running directions in Redis, as the service sees them: listed, read, reset.

The fields of a direction's hash: epoch (new with every reset, so that versions of two lives never match) and version;
fingerprint and checkpoint (whose gradients these are); created, updated; languages and geometry (JSON: what the
routes show); sum:LANGUAGE (float32 little-endian, [D]: the weighted sum S of section 2 of the method) and
recent:LANGUAGE (float32: the latest conflict scores, for selection within the stream).
"""

import json
from datetime import UTC, datetime
from typing import cast

from congrad import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.errors import NotFound

SHOWN = ("version", "checkpoint", "fingerprint", "created", "updated", "languages", "geometry")


class Directions:
    """The directions in one Redis."""

    def __init__(self, redis: Redis):
        self._redis = redis

    async def names(self) -> list[str]:
        """The names of all directions, sorted."""
        names = cast("set[bytes]", await self._redis.smembers(keys.DIRECTIONS))
        return sorted(name.decode() for name in names)

    async def get(self, name: str) -> wire.Direction:
        """The direction without its vectors.

        :raises NotFound: no such direction.
        """
        values = await self._redis.hmget(keys.direction(name), list(SHOWN))
        if values[0] is None:
            raise NotFound(f"there is no direction {name!r}")
        fields = dict(zip(SHOWN, (value.decode() for value in cast("list[bytes]", values)), strict=True))
        return wire.Direction(
            name=name,
            version=int(fields["version"]),
            checkpoint=fields["checkpoint"],
            fingerprint=fields["fingerprint"],
            created=datetime.fromtimestamp(float(fields["created"]), UTC),
            updated=datetime.fromtimestamp(float(fields["updated"]), UTC),
            languages=json.loads(fields["languages"]),
            **json.loads(fields["geometry"]),
        )

    async def fingerprint(self, name: str) -> str | None:
        """Whose gradients the direction holds; None where there is none yet."""
        value = await self._redis.hget(keys.direction(name), "fingerprint")
        return None if value is None else cast("bytes", value).decode()

    async def summaries(self) -> list[wire.DirectionSummary]:
        """A row for each direction."""
        rows = []
        for name in await self.names():
            try:
                direction = await self.get(name)
            except NotFound:  # reset since the names were read
                continue
            counts = {tag: language.samples for tag, language in direction.languages.items()}
            rows.append(
                wire.DirectionSummary(
                    name=name, version=direction.version, checkpoint=direction.checkpoint, languages=counts
                )
            )
        return rows

    async def reset(self, name: str) -> None:
        """Forgets the direction. A job that is being decided starts a new one.

        :raises NotFound: no such direction.
        """
        async with self._redis.pipeline() as pipe:
            pipe.unlink(keys.direction(name))
            pipe.srem(keys.DIRECTIONS, name)
            removed, _ = await pipe.execute()
        if not removed:
            raise NotFound(f"there is no direction {name!r}")
