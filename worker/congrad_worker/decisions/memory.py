r"""What a direction knows of the pairs that it is made of, so that each counts once.

A pair that brought the amount a/n to its language when n' samples had been folded in there has by now, after n samples,
the share

.. math:: c = 2^{-(n-n')/h}\,(a/n)/W

Amount and n' are all that is remembered: nothing is rewritten when others come.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

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
class Memory:
    """A direction's memory: the tables of all its languages, and those of their buckets that were read, by language and
    number; empty ones too."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    buckets: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)

    def entries(self, tag: str) -> np.ndarray:
        """What was read of a language: `PAIR` ``[m]``."""
        return np.frombuffer(b"".join(self.buckets.get(tag, {}).values()), PAIR)

    def known(
        self, pairs: Pairs, tags: Sequence[str], languages: Mapping[str, LanguageState], half_life: float
    ) -> Known:
        """The samples whose pairs are remembered, and the shares that these have in the languages as they are.

        :param pairs: of length n, as are their languages ``tags``.
        """
        shares: dict[tuple[str, bytes | None], float] = {}
        for tag in self.buckets:
            entries, state = self.entries(tag), languages[tag]
            own = _remains(entries, state, half_life) / state.weight
            shares |= {(tag, pair): share for pair, share in zip(_hashes(entries), own.tolist(), strict=True)}
        found = [shares.get(one) for one in zip(tags, pairs, strict=True)]
        rows = np.array([share is not None for share in found], bool)
        return Known(rows, np.array([share or 0.0 for share in found]))


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
    return {tag: _numbers(tables[tag], own) for tag, own in by_language.items() if tag in tables}


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
    elsewhere = sum(table.pairs for table in memory.tables.values()) - sum(len(memory.entries(tag)) for tag in merged)
    kept = _fitting(merged, languages, half_life, most - elsewhere)
    tables, fields = dict(memory.tables), dict[str, bytes]()
    for tag, entries in kept.items():
        table = tables.get(tag, Table())
        pairs = table.pairs - len(memory.entries(tag)) + len(entries)
        tables[tag] = Table(pairs, table.with_room(pairs))
        parts = remembered.packed(entries, tables[tag].buckets)
        for number in {*memory.buckets.get(tag, {}), *parts}:
            fields[remembered.field(tag, number)] = parts.get(number, b"")
    given_up = sum(map(len, merged.values())) - sum(map(len, kept.values()))
    return Learnt(tables, fields, given_up)


def _merged(entries: np.ndarray, stakes: Mapping[bytes, float], state: LanguageState, half_life: float) -> np.ndarray:
    """The old entries that have anything left, and then the new ones."""
    remains = _remains(entries, state, half_life)
    hashes = _hashes(entries)
    before = {pair: float(amount) for pair, amount in zip(hashes, remains, strict=True) if pair in stakes}
    stays = (remains >= FORGOTTEN_BELOW) & np.array([pair not in stakes for pair in hashes], bool)
    new = np.zeros(len(stakes), PAIR)
    new["hash"] = np.frombuffer(b"".join(stakes), f"V{HASH_BYTES}")
    new["samples"] = state.samples
    new["amount"] = [amount + before.get(pair, 0.0) for pair, amount in stakes.items()]
    return np.concatenate([entries[stays], new])


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


def _hashes(entries: np.ndarray) -> list[bytes]:
    raw = entries["hash"].tobytes()
    return [raw[start : start + HASH_BYTES] for start in range(0, len(raw), HASH_BYTES)]
