"""A direction as a worker reads it from Redis, and what a commit writes of it there, as values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from congrad.contract import wire
from congrad_service.directions import remembered
from congrad_service.directions.remembered import Table
from congrad_service.directions.terms import Terms

from congrad_worker.decisions.consensus import Consensus
from congrad_worker.decisions.direction import LanguageState, Stake


class Mark(NamedTuple):
    """Which state of a direction one is. Redis may come back without its last second, and number anew: then the commit
    that made a version tells it from another one of its number. It is empty where none did, or an earlier release's."""

    epoch: str = ""
    version: int = 0
    by: str = ""

    @classmethod
    def of(cls, found: Sequence[bytes | None]) -> "Mark":
        """Of the fields ``epoch``, ``version`` and ``by`` of a direction's hash."""
        epoch, version, by = found
        return cls((epoch or b"").decode(), int(version or 0), (by or b"").decode())

    @property
    def state(self) -> str:
        """Version and commit, as scripts compare them."""
        return f"{self.version}/{self.by}"

    @property
    def name(self) -> str:
        """Of a file about it."""
        return "-".join(str(part) for part in self if part != "")


@dataclass(frozen=True)
class DirectionRecord:
    """A direction as it was read; its ``mark`` is what a commit is compared with, and ``by`` names the commit that made
    this version.

    ``terms`` are what it began with, None where there is no direction yet; ``tables`` say where in Redis the pairs are
    that it remembers, and ``forgotten`` how many it had to give up. ``consensus`` is what is known of it without
    computing, None where that is nothing.
    """

    epoch: str
    version: int
    fingerprint: str | None
    created: float | None
    languages: dict[str, LanguageState]
    terms: Terms | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)
    forgotten: int = 0
    consensus: Consensus | None = None
    by: str = ""

    @classmethod
    def of(cls, raw: Mapping[bytes, bytes]) -> "DirectionRecord":
        """From a direction's hash; version 0 without languages where there is none."""
        if not raw:
            return cls("", 0, None, None, {})
        described = json.loads(raw[b"languages"])
        languages = {tag: _language(raw, tag, about) for tag, about in described.items()}
        return cls(
            epoch=raw[b"epoch"].decode(),
            version=int(raw[b"version"]),
            fingerprint=raw[b"fingerprint"].decode(),
            created=float(raw[b"created"]),
            languages=languages,
            terms=Terms.of(raw[b"geometry"]),
            tables=remembered.tables_of(raw.get(b"tables")),
            forgotten=int(raw.get(b"forgotten", 0)),
            consensus=_consensus(raw, languages),
            by=raw.get(b"by", b"").decode(),
        )

    @property
    def mark(self) -> Mark:
        """Which state this is."""
        return Mark(self.epoch, self.version, self.by)

    @property
    def bytes(self) -> int:
        """About what it takes up in memory: the vectors twice, in states and in one matrix, and the direction."""
        states = self.languages.values()
        own = max((2 * state.total.nbytes for state in states), default=0)  # in float64
        return own + sum(2 * state.total.nbytes + state.recent.nbytes for state in states) + 16 * len(states) ** 2


@dataclass(frozen=True)
class Step:
    """What one commit does to a direction.

    ``fields`` are the new ones of its hash, and ``pairs`` the buckets that change of what it remembers; ``stakes`` are
    what the job's samples brought to it, and ``repeated`` the places of those that brought nothing, kept with their
    gradients; ``conflicts`` are added to the counts that `keys` describes.
    """

    fields: Mapping[str, Any]
    pairs: Mapping[str, Mapping[int, bytes]]
    stakes: Mapping[str, Stake]
    repeated: Sequence[int]
    entry: wire.HistoryEntry
    conflicts: Mapping[str, int]

    @property
    def arguments(self) -> list[Any]:
        """The end of those of `scripts.COMMIT`."""
        fields = [one for item in self.fields.items() for one in item]
        # Not an argument for each of hundreds of buckets: to send those takes longer than all else.
        pairs = [
            one
            for tag, own in self.pairs.items()
            for one in (tag, " ".join(f"{number}={len(part)}" for number, part in own.items()), b"".join(own.values()))
        ]
        return [self.entry.model_dump_json(), json.dumps(self.conflicts), len(self.fields), *fields, *pairs]


def _language(raw: Mapping[bytes, bytes], tag: str, about: dict[str, Any]) -> LanguageState:
    return LanguageState(
        total=np.frombuffer(raw[f"sum:{tag}".encode()], dtype="<f4"),
        weight=about["weight"],
        samples=about["samples"],
        recent=np.frombuffer(raw[f"recent:{tag}".encode()], dtype="<f4"),
    )


def _consensus(raw: Mapping[bytes, bytes], languages: dict[str, LanguageState]) -> Consensus | None:
    """What was computed with the last commit; nothing after an import."""
    if b"gram" not in raw:
        return None
    aggregator = json.loads(raw[b"geometry"])["aggregator"]
    gram = np.frombuffer(raw[b"gram"], dtype="<f8").reshape(len(languages), len(languages))
    weights = np.frombuffer(raw[b"weights"], dtype="<f8")
    return Consensus(languages, gram, weights, (aggregator["name"], aggregator["seed"]))
