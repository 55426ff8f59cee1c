"""Samples as requests: encoded once, cut by number and bytes, each with the key under which it is folded in once."""

import hashlib
import json
import math
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any, Protocol, SupportsIndex, runtime_checkable

from congrad.contract import wire
from congrad.contract.samples import COLUMNS, IMAGE_COLUMNS, NO_IMAGES, Message, without_others
from congrad.errors import InvalidSampleError
from congrad.protocol.calls import HttpRequest, job_path
from congrad.protocol.options import Options, SelectionLike, as_json

MAX_BYTES = 8 * 2**20
"""Of one request's samples, well below what the service takes."""

SampleLike = wire.Sample | wire.PromptCompletion | Mapping[str, Any]


@runtime_checkable
class Columns(Protocol):
    """What is used of a `datasets.Dataset`, whose own types leave open what its rows are."""

    @property
    def column_names(self) -> list[str] | None: ...
    def __iter__(self) -> Iterator[Any]: ...
    def select_columns(self, column_names: list[str]) -> Any: ...


Samples = Iterable[SampleLike] | Columns
"""The samples of a call."""

TABLES = {
    ("pandas", "DataFrame"): "to_dict('records')",
    ("polars", "DataFrame"): "to_dicts()",
    ("polars", "LazyFrame"): "collect().to_dicts()",
    ("pyarrow", "Table"): "to_pylist()",
    ("pyarrow", "RecordBatch"): "to_pylist()",
}
"""What gives columns where it is iterated over, and how it gives its rows."""


@dataclass(frozen=True)
class Pairs:
    """Some neighbouring samples of a call. ``start`` is where they begin, ``encoded`` all of them as JSON, and
    ``places`` where they stand once others between them were taken out."""

    start: int
    rows: Sequence[Mapping[str, Any]]
    encoded: bytes
    places: Sequence[int] | None = None

    @classmethod
    def of(cls, samples: Sequence[SampleLike], start: int) -> "Pairs":
        """:raises InvalidSampleError: one of them is no mapping, or JSON has no form for it."""
        rows = [_row(sample, start + i) for i, sample in enumerate(samples)]
        try:
            # As one list, since one by one takes longer; the sample at fault is looked for only where there is one.
            return cls(start, rows, _encode(rows))
        except _NO_JSON:
            for i, row in enumerate(rows):
                _check(row, start + i)
            raise

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positions(self) -> Sequence[int]:
        """Where its samples stand in the call."""
        return range(self.start, self.start + len(self.rows)) if self.places is None else self.places

    def request(self, options: Options, key: str, retain: bool) -> HttpRequest:
        """The request. ``key`` is of the call; with position and content it makes that of the request, so that the
        same samples sent again are the same request, and changed ones another."""
        # The samples are JSON already: what else the object holds goes behind them, without its opening bracket.
        content = b'{"samples":' + self.encoded + b"," + _encode(options.fields(retain))[1:]
        return _post("/filter", content, f"{key} {self.start}")

    def without(self, positions: Collection[int]) -> "tuple[Pairs, Pairs]":
        """These samples without some of them, and those."""
        kept = [index for index, position in enumerate(self.positions) if position not in positions]
        others = [index for index, position in enumerate(self.positions) if position in positions]
        return self._at(kept, self.start), self._at(others, self.start)

    def cut(self, *ends: int) -> "list[Pairs]":
        """Smaller ones, which end before these samples and before the last one's end."""
        bounds = pairwise([0, *ends, len(self.rows)])
        return [self._at(range(first, end), self.start + first) for first, end in bounds]

    def _at(self, indices: Sequence[int], start: int) -> "Pairs":
        places = [self.positions[index] for index in indices]
        return replace(Pairs.of([self.rows[index] for index in indices], start), places=places)


def split(samples: Samples, batch_size: int, start: int = 0) -> Iterator[Pairs]:
    """The samples of a call as requests of at most ``batch_size`` samples and `MAX_BYTES`, at least one sample each.

    They are made as they are asked for, and do not depend on where a call starts: one that goes on where an earlier one
    stopped makes the requests that it would have made.

    :param start: position of the first sample.
    :raises InvalidSampleError: a sample cannot be sent.
    """
    check_batch_size(batch_size)
    if start < 0:
        raise ValueError(f"start is {start}; the first sample is at 0")
    source = iter(rows_of(samples))
    while batch := list(islice(source, batch_size - start % batch_size)):
        yield from _within_limit(Pairs.of(batch, start))
        start += len(batch)


async def split_async(
    samples: Samples | AsyncIterable[SampleLike], batch_size: int, start: int = 0
) -> AsyncIterator[Pairs]:
    """`split` of samples that may come asynchronously."""
    if not isinstance(samples, AsyncIterable):
        for pairs in split(samples, batch_size, start):
            yield pairs
        return
    check_batch_size(batch_size)
    batch: list[SampleLike] = []
    async for sample in samples:
        batch.append(sample)
        if (start + len(batch)) % batch_size == 0:
            for pairs in split(batch, batch_size, start):
                yield pairs
            start += len(batch)
            batch = []
    for pairs in split(batch, batch_size, start):
        yield pairs


def check_batch_size(batch_size: int) -> None:
    """:raises ValueError: no sample would go into a request."""
    if not isinstance(batch_size, SupportsIndex) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}; at least 1 sample goes into a request")


def _within_limit(pairs: Pairs) -> list[Pairs]:
    if len(pairs.encoded) <= MAX_BYTES:
        return [pairs]
    ends = []
    size = 1  # of the list's end; each sample has a bracket or comma before it
    for i, row in enumerate(pairs.rows):
        own = len(_encode(row)) + 1
        if size + own > MAX_BYTES and size > 1:
            ends.append(i)
            size = 1
        size += own
    return pairs.cut(*ends)


def rows_of(samples: Samples) -> Iterable[SampleLike]:
    """The samples. A `datasets.Dataset` has other columns beside a sample's fields, and nulls where a row has no value:
    both are left out.

    :raises TypeError: they are no rows: one sample, a dataset of several splits, a table of another library.
    """
    check_rows(samples, "samples")
    if not isinstance(samples, Columns):
        return samples
    # A format may give tables in place of rows.
    plain: Columns = samples.with_format(None) if hasattr(samples, "with_format") else samples
    # An IterableDataset does not always know its columns.
    columns = plain.column_names
    rows = plain if columns is None else plain.select_columns([name for name in columns if name in COLUMNS])
    return (without_others({name: row[name] for name in COLUMNS if row.get(name) is not None}) for row in rows)


def check_rows(rows: Any, name: str) -> None:
    """What can be iterated over and gives no rows is said to, before a first one is at fault.

    :param name: what the caller knows it as.
    :raises TypeError: it cannot be rows.
    """
    wanted = "it should be a list of samples, or one split of a dataset"
    if isinstance(rows, Mapping):
        raise TypeError(f"{name} is a mapping; {wanted}")
    kind = type(rows).__name__
    if rows is None or isinstance(rows, str | bytes | wire.Sample | wire.PromptCompletion):
        raise TypeError(f"{name} is {kind}; {wanted}")
    if how := TABLES.get((type(rows).__module__.partition(".")[0], kind)):
        raise TypeError(f"{name} is {kind}, which gives its columns; its rows are {name}.{how}")


def rescore_request(
    job_id: str, *, key: str, retain: bool, selection: SelectionLike | None = None, **others: Any
) -> HttpRequest:
    """A request to score a job again.

    :param others: further fields of `wire.RescoreRequest`.
    """
    fields: dict[str, Any] = {"retain": retain}
    if selection is not None:
        fields["selection"] = as_json(selection)
    if others.get("half_life") == math.inf:
        others["half_life"] = wire.INFINITY
    return _post(job_path(job_id) + "/rescore", _encode(fields | others), key)


def _post(path: str, content: bytes, key: str) -> HttpRequest:
    # Hashed, a caller's key may be of any length and script.
    own_key = hashlib.sha256(f"{key} {path} ".encode() + content).hexdigest()
    return HttpRequest("POST", path, content, {"Content-Type": "application/json", "Idempotency-Key": own_key})


def _row(sample: SampleLike, position: int) -> Mapping[str, Any]:
    """The sample with an id, a string, which defaults to its position."""
    if isinstance(sample, dict):
        row = sample
    elif isinstance(sample, wire.Sample | wire.PromptCompletion):
        row = sample.model_dump(exclude_none=True)
    elif isinstance(sample, Mapping):
        row = dict(sample)
    else:
        detail = f"it is {type(sample).__name__}, not a mapping, a congrad.Sample or a congrad.PromptCompletion"
        raise InvalidSampleError(position, detail)
    sample_id = row.get("id")
    if isinstance(sample_id, str):
        return row
    # A copy: the mapping is the caller's.
    return {**row, "id": str(position if sample_id is None else sample_id)}


_NO_JSON = (TypeError, ValueError, RecursionError)  # UnicodeEncodeError is a ValueError


def _encode(value: Any) -> bytes:
    """:raises TypeError, ValueError, RecursionError: JSON has no form for it."""
    # Texts as they are: escapes would double the size of most scripts, and the bytes of a request are limited.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _check(row: Mapping[str, Any], position: int) -> None:
    for name, value in row.items():
        try:
            _encode({name: value})
        except _NO_JSON as error:
            # The service refuses them in these words, and of those that a dataset has decoded it is never asked.
            detail = NO_IMAGES if name in IMAGE_COLUMNS else f"{name}: {error}"
            raise InvalidSampleError(position, detail) from error


def _plain(value: Any) -> Any:
    """NumPy's arrays, which is how some files give lists of messages; and a `Message` in a mapping."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Message):
        return value.model_dump(exclude_none=True)
    raise TypeError(f"JSON has no form for {type(value).__name__}")
