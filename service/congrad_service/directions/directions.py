"""Running directions in Redis, as the service sees them: listed, read, reset, exported and imported.

The fields of a direction's hash: epoch (new with every life, after a reset or an import, so that versions of two lives
never match) and version, and by (the job that made it, where a job did, and which of its tries: a Redis that lost its
last second numbers anew); fingerprint and checkpoint (whose gradients these are); created, updated; languages and
geometry (JSON: what the routes show) and cosines (float32, [2, L, L]: before and after surgery, for the routes too);
sum:LANGUAGE (float32, [D]: the weighted sum S of section 2 of the method) and recent:LANGUAGE (float32: the latest
conflict scores, for selection within the stream). What the workers would else compute again, and do after an import:
gram (float64, [L, L], of the language gradients) and weights (float64, [L], of the direction). All are little-endian,
and languages are sorted by tag. tables (JSON: see `remembered.py`) and forgotten are of the pairs that it remembers,
which have a key of their own.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys, scripts
from congrad_service.access import teams
from congrad_service.directions import direction_state, remembered
from congrad_service.directions.bounds import too_many
from congrad_service.directions.cosines import cosines_of
from congrad_service.directions.dissent import notes
from congrad_service.directions.histograms import WIDTH, histogram
from congrad_service.directions.terms import Terms
from congrad_service.http.errors import RETRY_AFTER_S, Conflict, NotFound, Unavailable, Unprocessable

SHOWN = (
    "version",
    "checkpoint",
    "fingerprint",
    "created",
    "updated",
    "languages",
    "geometry",
    "cosines",
    "tables",
    "forgotten",
)

MAX_TORN = 10
"""Exports that a commit has come between, after which it is given up."""


@dataclass(frozen=True)
class Standing:
    """A direction as a request meets it: whose gradients it holds, and JSON of what it began with and its languages."""

    name: str
    fingerprint: str
    geometry: bytes | None
    languages: bytes | None

    def check_terms(self, request: wire.FilterRequest) -> None:
        """:raises Conflict: the direction began with another half-life, or another aggregator."""
        if self.geometry is None:
            return
        terms = Terms.of(self.geometry)
        if reason := terms.conflict(self.name, request.half_life, request.aggregator, request.update):
            raise Conflict(reason)

    def check_languages(self, languages: Set[str], most: int) -> None:
        """:raises Conflict: with these the direction would have more than ``most`` languages."""
        known = set(json.loads(self.languages)) if self.languages is not None else set()
        if (reason := too_many(self.name, known | languages, most)) is not None:
            raise Conflict(reason)


class Directions:
    """The directions of one team, or those of nobody, in one Redis."""

    def __init__(self, redis: Redis, team: str | None = None):
        self._redis = redis
        self._team = team
        self._reset = redis.register_script(scripts.RESET)

    def of(self, team: str | None) -> "Directions":
        """Those of another team."""
        return Directions(self._redis, team)

    @property
    def team(self) -> str | None:
        """Whose they are; None for nobody's."""
        return self._team

    async def names(self) -> list[str]:
        """The names of all directions, sorted."""
        raw = cast("set[bytes]", await self._redis.smembers(keys.DIRECTIONS))
        names = [name.decode() for name in raw]
        return sorted(teams.plain(name) for name in names if teams.team_of(name) == self._team)

    async def get(self, name: str) -> wire.Direction:
        """The direction without its vectors.

        :raises NotFound: no such direction.
        """
        values = await self._redis.hmget(self._key(name), list(SHOWN))
        if values[0] is None:
            raise _missing(name)
        found = zip(SHOWN, cast("list[bytes | None]", values), strict=True)
        fields = {field: value for field, value in found if value is not None}
        return await asyncio.to_thread(_described, name, fields)  # matrices of hundreds of languages take a while

    async def scores(self, name: str) -> wire.DirectionScores:
        """The latest conflict scores of each language.

        :raises NotFound: no such direction.
        """
        tags = await self._tags(name)
        found = await self._redis.hmget(self._key(name), [f"recent:{tag}" for tag in tags])
        if None in found:  # reset or replaced since
            raise _missing(name)
        recent = (np.frombuffer(scores, dtype="<f4") for scores in cast("list[bytes]", found))
        languages = {tag: histogram(scores) for tag, scores in zip(tags, recent, strict=True)}
        return wire.DirectionScores(width=WIDTH, languages=languages)

    async def history(self, name: str, limit: int) -> bytes:
        """The latest versions, the oldest of them first, as a JSON list of `wire.HistoryEntry`. They are passed on as
        they are: to read some hundreds of them takes as long as many requests.

        :raises NotFound: no such direction.
        """
        await self._tags(name)
        texts = await self._redis.lrange(keys.history(teams.qualified(self._team, name)), -limit, -1)
        return b"[" + b",".join(cast("list[bytes]", texts)) + b"]"

    async def conflicts(self, name: str) -> wire.DirectionConflicts:
        """Whom the pairs that were dropped conflicted with.

        :raises NotFound: no such direction.
        """
        tags = await self._tags(name)
        raw = await self._redis.hgetall(keys.conflicts(teams.qualified(self._team, name)))
        counts = {field.decode(): int(count) for field, count in cast("dict[bytes, bytes]", raw).items()}
        found = {tag: wire.LanguageConflicts(dropped=counts.get(tag, 0), conflicts_with={}) for tag in tags}
        for field, count in sorted(counts.items()):
            tag, _, other = field.partition(":")
            if other and tag in found:
                found[tag].conflicts_with[other] = count
        return wire.DirectionConflicts(languages=found)

    async def standing(self, name: str) -> "Standing | None":
        """What a request for the direction has to suit; None where there is none yet."""
        found = await self._redis.hmget(self._key(name), ["fingerprint", "geometry", "languages"])
        fingerprint, geometry, languages = cast("list[bytes | None]", found)
        return None if fingerprint is None else Standing(name, fingerprint.decode(), geometry, languages)

    async def check_room(self, name: str, most: int) -> None:
        """:raises Conflict: the direction would be one more than ``most``."""
        names = await self.names()
        if name not in names and len(names) >= most:
            raise Conflict(f"there are {len(names)} directions, and {most} at most; reset one that is not needed")

    async def summaries(self) -> list[wire.DirectionSummary]:
        """A row for each direction."""
        names = await self.names()
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(self._key(name), ["version", "checkpoint", "languages"])
            found = await pipe.execute()
        # Beside the requests: there may be a thousand of them.
        return await asyncio.to_thread(_summaries, names, found)

    async def reset(self, name: str) -> None:
        """Forgets the direction. A job that is being decided starts a new one.

        :raises NotFound: no such direction.
        """
        qualified = teams.qualified(self._team, name)
        if not await self._reset(keys=[keys.DIRECTIONS, *keys.life(qualified)], args=[qualified]):
            raise _missing(name)

    async def size(self, name: str) -> int:
        """Bytes of a direction: of its vectors, and of the pairs that it remembers.

        :raises NotFound: no such direction.
        """
        tags = await self._tags(name)
        async with self._redis.pipeline(transaction=False) as pipe:
            for field in (f"{kind}:{tag}" for tag in tags for kind in direction_state.VECTORS):
                pipe.hstrlen(self._key(name), field)
            pipe.hget(self._key(name), "tables")
            *lengths, tables = await pipe.execute()
        return int(sum(lengths)) + remembered.PAIR.itemsize * _pairs(tables)

    async def export(self, name: str) -> bytes:
        """The direction with its vectors and pairs, as `direction_state` describes it.

        :raises NotFound: no such direction.
        :raises Unavailable: it changes faster than it can be read.
        """
        qualified = teams.qualified(self._team, name)
        for _ in range(MAX_TORN):
            # No transaction: a full Redis takes none.
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(keys.direction(qualified))
                pipe.hgetall(keys.pairs(qualified))
                pipe.hmget(keys.direction(qualified), ["epoch", "version"])
                fields, pairs, now = await pipe.execute()
            if not fields:
                raise _missing(name)
            if now == [fields[b"epoch"], fields[b"version"]]:
                return await asyncio.to_thread(direction_state.dump, fields, pairs)
        raise Unavailable(f"direction {name!r} changes faster than it can be read", retry_after=RETRY_AFTER_S)

    async def replace(self, name: str, state: bytes, dims: Mapping[str, int], most: int) -> tuple[wire.Direction, bool]:
        """Makes an exported state the direction, in one step; also says whether there was one before.

        The epoch is new: a job that is being decided loses its race and decides again, from this state.

        :param dims: the lengths of gradients, by fingerprint, as far as they are known.
        :param most: languages that a direction may have.
        :raises Unprocessable: the state is not one, its vectors have another length, or it has too many languages;
            nothing was written.
        """
        fields, pairs = await asyncio.to_thread(direction_state.parse, state, dims)
        if (reason := too_many(name, set(json.loads(fields["languages"])), most)) is not None:
            raise Unprocessable(reason)
        qualified = teams.qualified(self._team, name)
        key, *rest = keys.life(qualified)
        async with self._redis.pipeline() as pipe:
            pipe.unlink(key)
            pipe.unlink(*rest)
            items = [part for item in fields.items() for part in item]
            pipe.hset(key, "epoch", uuid.uuid4().hex, items=items)
            if pairs:
                pipe.hset(keys.pairs(qualified), mapping=cast("dict[Any, Any]", pairs))
            pipe.sadd(keys.DIRECTIONS, qualified)
            replaced, *_ = await pipe.execute()
        return _described(name, {field: _bytes(fields[field]) for field in SHOWN}), bool(replaced)

    async def _tags(self, name: str) -> list[str]:
        """The languages of a direction.

        :raises NotFound: no such direction.
        """
        languages = await self._redis.hget(self._key(name), "languages")
        if languages is None:
            raise _missing(name)
        return list(json.loads(cast("bytes", languages)))

    def _key(self, name: str) -> str:
        return keys.direction(teams.qualified(self._team, name))


def _summaries(names: Sequence[str], found: Sequence[Sequence[bytes | None]]) -> list[wire.DirectionSummary]:
    """Without those that were reset since their names were read."""
    return [
        wire.DirectionSummary(
            name=name,
            version=int(version),
            checkpoint=checkpoint.decode(),
            languages={tag: language["samples"] for tag, language in json.loads(languages).items()},
        )
        for name, (version, checkpoint, languages) in zip(names, found, strict=True)
        if version is not None and checkpoint is not None and languages is not None
    ]


def _described(name: str, fields: Mapping[str, bytes]) -> wire.Direction:
    languages, geometry = json.loads(fields["languages"]), json.loads(fields["geometry"])
    if "cosines" in fields:  # a direction that was last written by an earlier release has them in its geometry
        geometry["cosines_before"], geometry["cosines_after"] = cosines_of(fields["cosines"], len(languages))
    return wire.Direction(
        name=name,
        version=int(fields["version"]),
        checkpoint=fields["checkpoint"].decode(),
        fingerprint=fields["fingerprint"].decode(),
        created=datetime.fromtimestamp(float(fields["created"]), UTC),
        updated=datetime.fromtimestamp(float(fields["updated"]), UTC),
        remembered=_pairs(fields.get("tables")),
        forgotten=int(fields.get("forgotten", 0)),
        languages=languages,
        notes=notes(list(languages), geometry["cosines_before"], geometry.get("weights", {}), _samples(languages)),
        **geometry,
    )


def _samples(languages: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    return {tag: int(language["samples"]) for tag, language in languages.items()}


def _pairs(tables: bytes | None) -> int:
    return sum(table.pairs for table in remembered.tables_of(tables).values())


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no direction {name!r}")
