r"""What a direction knows of the pairs that it is made of, so that each counts once.

A pair that brought the amount a/n to its language when n' samples had been folded in there has by now, after n samples,
the share

.. math:: c = 2^{-(n-n')/h}\,(a/n)/W

Amount and n' are all that is remembered: nothing is rewritten when others come.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from congrad_service.directions import remembered
from congrad_service.directions.remembered import HASH_BYTES, PAIR, Table

from congrad_worker.decisions.direction import LanguageState, left

FORGOTTEN_BELOW = 1e-6
"""Of a new sample. A pair that has less than that left is forgotten: to count it again changes nothing to speak of."""

Pairs = Sequence[bytes | None]
"""The hashes of some samples; None where there is none, and then nothing is remembered."""


@dataclass(frozen=True)
class Known:
    """Of n samples: whether their pairs are remembered, bool ``[n]``, and the shares of those, float64 ``[n]``."""

    rows: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Entries:
    """Pairs as they are remembered, `PAIR` ``[m]``, and their places by their hashes, in their order."""

    pairs: np.ndarray
    places: Mapping[bytes | None, int]

    @classmethod
    def of(cls, packed: bytes) -> "Entries":
        """From the contents of buckets."""
        pairs = np.frombuffer(packed, PAIR)
        raw = pairs["hash"].tobytes()
        hashes = (raw[start : start + HASH_BYTES] for start in range(0, len(raw), HASH_BYTES))
        return cls(pairs, {pair: place for place, pair in enumerate(hashes)})


@dataclass(frozen=True)
class Memory:
    """A direction's memory: the tables of all its languages, and those of their buckets that were read, by language and
    number; empty ones too."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    buckets: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)

    @cached_property  # asked for when samples are counted, when they are scored, and when they are remembered
    def read(self) -> dict[str, "Entries"]:
        """What was read, by language."""
        return {tag: Entries.of(b"".join(parts.values())) for tag, parts in self.buckets.items()}

    def entries(self, tag: str) -> "Entries":
        """What was read of a language."""
        return self.read.get(tag, Entries.of(b""))

    def known(
        self, pairs: Pairs, tags: Sequence[str], languages: Mapping[str, LanguageState], half_life: float
    ) -> Known:
        """The samples whose pairs are remembered, and the shares that these have in the languages as they are.

        :param pairs: of length n, as are their languages ``tags``.
        """
        shares = {
            tag: _remains(entries.pairs, languages[tag], half_life) / languages[tag].weight
            for tag, entries in self.read.items()
        }
        rows, found = np.zeros(len(pairs), bool), np.zeros(len(pairs))
        for row, (pair, tag) in enumerate(zip(pairs, tags, strict=True)):
            place = self.read[tag].places.get(pair) if tag in self.read else None
            if place is not None:
                rows[row], found[row] = True, shares[tag][place]
        return Known(rows, found)


@dataclass(frozen=True)
class Learnt:
    """What is to be written of a direction's memory: the tables of all its languages; the buckets that change, by
    their fields' names, empty ones to be taken out; and how many pairs were given up that still count."""

    tables: Mapping[str, Table]
    fields: Mapping[str, bytes]
    given_up: int


def wanted(tables: Mapping[str, Table], pairs: Pairs, tags: Sequence[str]) -> dict[str, list[int]]:
    """The buckets that a request with these pairs has to do with, by language: those where the pairs would be, and
    those that are divided when all are remembered."""
    by_language: defaultdict[str, set[bytes]] = defaultdict(set)
    for pair, tag in zip(pairs, tags, strict=True):
        if pair is not None:
            by_language[tag].add(pair)
    # A language whose pairs were all given up has a table without a bucket: there is nothing to read.
    return {
        tag: _numbers(tables[tag], own) for tag, own in by_language.items() if tag in tables and tables[tag].buckets
    }


def _numbers(table: Table, pairs: Set[bytes]) -> list[int]:
    numbers = set(remembered.places(np.frombuffer(b"".join(pairs), f"V{HASH_BYTES}"), table.buckets).tolist())
    for number in range(table.buckets, table.with_room(table.pairs + len(pairs))):
        divided = number
        while divided >= table.buckets:
            divided = remembered.parent(divided)
        numbers.add(divided)
    return sorted(numbers)


def learn(
    memory: Memory,
    stakes: Mapping[str, Mapping[bytes, float]],
    languages: Mapping[str, LanguageState],
    half_life: float,
    most: int,
) -> Learnt:
    """Remembers pairs that have just been folded in, on top of what was known of them.

    Where there would be more than ``most``, those of the buckets at hand are given up that have least left, the oldest
    of their language among equals, and new ones last.

    :param stakes: the amounts that pairs have brought, by language and hash.
    :param languages: the states with them.
    """
    merged = {tag: _merged(memory.entries(tag), own, languages[tag], half_life) for tag, own in stakes.items()}
    at_hand = {tag: len(memory.entries(tag).pairs) for tag in merged}
    elsewhere = sum(table.pairs for table in memory.tables.values()) - sum(at_hand.values())
    kept = _fitting(merged, languages, half_life, most - elsewhere)
    tables, fields = dict(memory.tables), dict[str, bytes]()
    for tag, entries in kept.items():
        table = tables.get(tag, Table())
        pairs = table.pairs - at_hand[tag] + len(entries)
        tables[tag] = Table(pairs, table.with_room(pairs))
        parts = remembered.packed(entries, tables[tag].buckets)
        for number in {*memory.buckets.get(tag, {}), *parts}:
            fields[remembered.field(tag, number)] = parts.get(number, b"")
    given_up = sum(map(len, merged.values())) - sum(map(len, kept.values()))
    return Learnt(tables, fields, given_up)


def _merged(entries: Entries, stakes: Mapping[bytes, float], state: LanguageState, half_life: float) -> np.ndarray:
    """The old entries that have anything left, and then the new ones."""
    remains = _remains(entries.pairs, state, half_life)
    again = {pair: entries.places[pair] for pair in stakes if pair in entries.places}
    stays = remains >= FORGOTTEN_BELOW
    stays[list(again.values())] = False
    new = np.zeros(len(stakes), PAIR)
    new["hash"] = np.frombuffer(b"".join(stakes), f"V{HASH_BYTES}")
    new["samples"] = state.samples
    new["amount"] = [amount + (remains[again[pair]] if pair in again else 0.0) for pair, amount in stakes.items()]
    return np.concatenate([entries.pairs[stays], new])


def _fitting(
    entries: Mapping[str, np.ndarray], languages: Mapping[str, LanguageState], half_life: float, room: int
) -> dict[str, np.ndarray]:
    """As many of the entries as there is room for."""
    over = sum(map(len, entries.values())) - room
    if over <= 0 or not entries:
        return dict(entries)
    remains = np.concatenate([_remains(own, languages[tag], half_life) for tag, own in entries.items()])
    ages = np.concatenate([languages[tag].samples - own["samples"].astype(np.float64) for tag, own in entries.items()])
    goes = np.zeros(len(remains), bool)
    goes[np.lexsort((-ages, remains))[:over]] = True
    ends = np.cumsum([len(own) for own in entries.values()])
    return {tag: own[~gone] for (tag, own), gone in zip(entries.items(), np.split(goes, ends[:-1]), strict=True)}


def _remains(entries: np.ndarray, state: LanguageState, half_life: float) -> np.ndarray:
    """What of the amounts is left in S: float64 ``[m]``."""
    since = state.samples - entries["samples"].astype(np.float64)
    amounts: np.ndarray = entries["amount"].astype(np.float64) * left(since, half_life)
    return amounts
