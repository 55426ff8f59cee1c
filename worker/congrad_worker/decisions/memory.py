r"""What a direction knows of the pairs that it is made of, so that each counts once.

A pair that brought the amount a/n to its language when n' samples had been folded in there has by now, after n samples,
the share

.. math:: c = 2^{-(n-n')/h}\,(a/n)/W

Amount and n' are all that is remembered: nothing is rewritten when others come.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
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
    """Of n samples: whether their pairs are remembered, bool ``[n]``, and the places of those among what was read of
    their language, int64 ``[n]``."""

    rows: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class Entries:
    """Pairs as they are remembered, one after the other: `PAIR` ``[m]``, and the same in bytes."""

    pairs: np.ndarray
    packed: bytes

    @classmethod
    def of(cls, packed: bytes) -> "Entries":
        """From the contents of buckets."""
        return cls(np.frombuffer(packed, PAIR), packed)

    def places(self, asked: Collection[bytes]) -> dict[bytes, int]:
        """The places of those of some hashes that are here."""
        found = self._places(asked)
        return {pair: found[pair] for pair in asked if pair in found}

    def rows(self, asked: Sequence[bytes]) -> np.ndarray:
        """The place here of each of some hashes, which may come more than once; -1 where there is none: int64."""
        found = self._places(asked)
        return np.array([found.get(pair, -1) for pair in asked], np.int64)

    def _places(self, asked: Collection[bytes]) -> dict[bytes, int]:
        """Those of all hashes here that begin as some do, which are next to none but these."""
        if not asked or not len(self.pairs):
            return {}
        # A request reads ten times as many pairs as it has. The first halves of their hashes, all compared at once,
        # leave next to none but its own to be made objects of Python's.
        own, wanted = _first_halves(self.pairs["hash"]), np.sort(_first_halves(_hashes(asked)))
        nearest = np.minimum(np.searchsorted(wanted, own), len(wanted) - 1)
        alike = np.flatnonzero(wanted[nearest] == own)
        raw = self.pairs["hash"][alike].tobytes()
        return {raw[HASH_BYTES * i : HASH_BYTES * (i + 1)]: place for i, place in enumerate(alike.tolist())}


def _first_halves(hashes: np.ndarray) -> np.ndarray:
    return np.frombuffer(hashes.tobytes(), "<u8")[::2]


def _hashes(pairs: Collection[bytes]) -> np.ndarray:
    """V16 ``[n]``."""
    return np.frombuffer(b"".join(pairs), f"V{HASH_BYTES}")


@dataclass(frozen=True)
class Memory:
    """A direction's memory: the tables of all its languages, the numbers of those of their buckets that were read,
    empty ones too, and what is in these, one after the other, both by language."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    packed: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property  # asked for when samples are counted, when they are scored, and when they are remembered
    def read(self) -> dict[str, "Entries"]:
        """What was read, by language."""
        return {tag: Entries.of(packed) for tag, packed in self.packed.items()}

    def entries(self, tag: str) -> "Entries":
        """What was read of a language."""
        return self.read.get(tag, Entries.of(b""))

    def known(self, pairs: Pairs, tags: Sequence[str]) -> Known:
        """The samples whose pairs are remembered.

        :param pairs: of length n, as are their languages ``tags``.
        """
        rows_of: defaultdict[str, list[int]] = defaultdict(list)
        for row, (pair, tag) in enumerate(zip(pairs, tags, strict=True)):
            if pair is not None:
                rows_of[tag].append(row)
        rows, places = np.zeros(len(pairs), bool), np.zeros(len(pairs), np.int64)
        for tag, entries in self.read.items():
            own = np.array(rows_of[tag], np.int64)
            known = entries.rows([pairs[row] or b"" for row in rows_of[tag]])
            rows[own], places[own] = known >= 0, np.maximum(known, 0)
        return Known(rows, places)

    def shares(
        self, known: Known, tags: Sequence[str], languages: Mapping[str, LanguageState], half_life: float
    ) -> np.ndarray:
        """The shares that remembered pairs have in the languages as they are: float64 ``[n]``, else 0."""
        shares = np.zeros(len(tags))
        rows_of: defaultdict[str, list[int]] = defaultdict(list)
        for row in np.flatnonzero(known.rows).tolist():
            rows_of[tags[row]].append(row)
        for tag, rows in rows_of.items():
            entries = self.read[tag].pairs[known.places[rows]]
            shares[rows] = _remains(entries, languages[tag], half_life) / languages[tag].weight
        return shares


@dataclass(frozen=True)
class Learnt:
    """What is to be written of a direction's memory: the tables of all its languages; the buckets that change, by
    language and number, empty ones to be taken out; and how many pairs were given up that still count."""

    tables: Mapping[str, Table]
    buckets: Mapping[str, Mapping[int, bytes]]
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
    numbers = set(remembered.places(_hashes(pairs), table.buckets).tolist())
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
    tables, buckets = dict(memory.tables), dict[str, dict[int, bytes]]()
    for tag, entries in kept.items():
        table = tables.get(tag, Table())
        pairs = table.pairs - at_hand[tag] + len(entries)
        tables[tag] = Table(pairs, table.with_room(pairs))
        parts = remembered.packed(entries, tables[tag].buckets)
        buckets[tag] = dict.fromkeys(memory.numbers.get(tag, ()), b"") | parts
    given_up = sum(map(len, merged.values())) - sum(map(len, kept.values()))
    return Learnt(tables, buckets, given_up)


def _merged(entries: Entries, stakes: Mapping[bytes, float], state: LanguageState, half_life: float) -> np.ndarray:
    """The old entries that have anything left, and then the new ones."""
    remains = _remains(entries.pairs, state, half_life)
    again = entries.places(stakes.keys())
    stays = remains >= FORGOTTEN_BELOW
    stays[list(again.values())] = False
    old = entries.packed if stays.all() else entries.pairs[stays].tobytes()
    new = np.zeros(len(stakes), PAIR)
    new["hash"] = _hashes(stakes.keys())
    new["samples"] = state.samples
    new["amount"] = [amount + (remains[again[pair]] if pair in again else 0.0) for pair, amount in stakes.items()]
    return np.frombuffer(old + new.tobytes(), PAIR)


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
