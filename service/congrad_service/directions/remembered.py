"""The pairs that a direction remembers, as Redis holds them.

Each is a `PAIR` of 28 bytes: a hash of what was scored, and its stake in its language. The pairs of a language lie in
buckets, by their hashes; a bucket is a field of one hash in Redis. A field of its own for each pair would take up three
times the memory, and one string for all would have to be read for every request. Buckets are added one at a time as
pairs come (linear hashing: Litwin 1980, "Linear hashing: a new tool for file and table addressing"), so that no
request pays for all that came before.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

HASH_BYTES = 16

PAIR = np.dtype([("hash", f"V{HASH_BYTES}"), ("samples", "<u8"), ("amount", "<f4")])
"""``amount`` is what the pair had brought to its language when ``samples`` had been folded in there: a stake."""

LOAD = 8
"""Pairs in a bucket, on average. With more, more is read and written for a pair; with fewer, Redis's own part grows."""


@dataclass(frozen=True)
class Table:
    """Of one language: how many pairs are remembered, and in how many buckets."""

    pairs: int = 0
    buckets: int = 0

    def with_room(self, pairs: int) -> int:
        """The buckets that there should be for so many pairs; they never become fewer."""
        return max(self.buckets, -(-pairs // LOAD))


def places(pairs: np.ndarray, buckets: int) -> np.ndarray:
    """The buckets that pairs lie in, where there are so many: int64 ``[n]``.

    :param pairs: their hashes, V16 ``[n]``.
    """
    low = np.frombuffer(pairs.tobytes(), dtype="<u8")[::2] % np.uint64(2 ** buckets.bit_length())
    found: np.ndarray = low.astype(np.int64)
    return np.where(found < buckets, found, found - 2 ** (buckets.bit_length() - 1))


def parent(bucket: int) -> int:
    """The bucket whose pairs a new one takes over in part."""
    return bucket - (1 << bucket.bit_length() >> 1)


def packed(pairs: np.ndarray, buckets: int) -> dict[int, bytes]:
    """Pairs in their buckets, of those that have any.

    :param pairs: `PAIR` ``[n]``.
    """
    if not len(pairs):
        return {}
    where = places(pairs["hash"], buckets)
    order = np.argsort(where, kind="stable")
    raw, where = pairs[order].tobytes(), where[order]
    firsts = np.concatenate([[0], 1 + np.flatnonzero(where[1:] != where[:-1])])
    numbers = where[firsts].tolist()
    starts = (PAIR.itemsize * firsts).tolist()
    ends = [*starts[1:], len(raw)]
    return {number: raw[start:end] for number, start, end in zip(numbers, starts, ends, strict=True)}


def field(tag: str, bucket: int) -> str:
    """The name of a bucket of a language."""
    return f"{tag}:{bucket}"


def fields(pairs: Mapping[str, np.ndarray]) -> tuple[dict[str, bytes], dict[str, Table]]:
    """All that Redis holds of pairs by language, and their tables."""
    found, tables = dict[str, bytes](), dict[str, Table]()
    for tag, some in pairs.items():
        if not len(some):
            continue
        tables[tag] = Table(len(some), Table().with_room(len(some)))
        found |= {field(tag, bucket): part for bucket, part in packed(some, tables[tag].buckets).items()}
    return found, tables


def by_language(held: Mapping[bytes, bytes], tags: Iterable[str]) -> dict[str, np.ndarray]:
    """The inverse of `fields`: pairs by language, `PAIR` ``[n]``, sorted by their hashes."""
    parts: dict[str, list[bytes]] = {tag: [] for tag in tags}
    for name, part in held.items():
        parts[name.decode().rpartition(":")[0]].append(part)
    found = {tag: np.frombuffer(b"".join(some), dtype=PAIR) for tag, some in parts.items()}
    return {tag: pairs[_order(pairs["hash"])] for tag, pairs in found.items()}


def _order(hashes: np.ndarray) -> np.ndarray:
    """NumPy compares no bytes that have a meaning only together."""
    halves = np.frombuffer(hashes.tobytes(), dtype=">u8").reshape(-1, 2)
    return np.lexsort((halves[:, 1], halves[:, 0]))


def tables_of(text: str | bytes | None) -> dict[str, Table]:
    """Tables as a direction's hash has them; none in one that an earlier release wrote."""
    return {} if text is None else {tag: Table(*sizes) for tag, sizes in json.loads(text).items()}


def dumped(tables: Mapping[str, Table]) -> str:
    """The inverse of `tables_of`."""
    return json.dumps({tag: [table.pairs, table.buckets] for tag, table in sorted(tables.items())})
