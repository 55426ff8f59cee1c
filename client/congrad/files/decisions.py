"""The decisions of an earlier run, and the rows that they are about."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from congrad.contract import wire
from congrad.files.bad_rows import NoSampleError
from congrad.files.formats import Format, format_of
from congrad.files.kinds.parquet_file import DECISION
from congrad.files.kinds.rows import FileError, Row
from congrad.files.samples import Fields, language_of, sample_of
from congrad.files.source import Source

_DECISION: TypeAdapter[wire.Decision] = TypeAdapter(wire.Decision)
NO_SAMPLES = (wire.Reason.BAD_ROW, wire.Reason.TIE)
"""Reasons of rows that nothing was sent of."""

_SAMPLES = "give the file that was filtered"
_SCORES = "give the file that `congrad filter --scores FILE` has written, which is JSON Lines and called .jsonl"


def read_decisions(path: str) -> list[wire.Decision]:
    """The decisions on all rows of a file, in their order, as ``congrad filter --scores`` writes them.

    :raises FileError: the file cannot be read, holds none, or a line is no decision.
    """
    with Source(path, None if format_of(path) else Format.JSONL) as rows:
        decisions = [_decision(row, rows.name) for row in rows.rows()]
    if not decisions:
        raise FileError(f"{path}: holds no decisions; {_SCORES}")
    return decisions


def misnamed(path: str) -> str | None:
    """What to say before decisions are written to a file that its suffix says another kind of."""
    if format_of(path) in (None, Format.JSONL, Format.JSON):
        return None
    return f"{path}: decisions are JSON Lines, whatever the suffix; call it .jsonl, for `congrad report` and others"


def _decision(row: Row, name: str) -> wire.Decision:
    if DECISION in row.content:
        raise FileError(
            f"{name}: holds dropped rows only, so nothing can be said about those that were kept; {_SCORES}"
        )
    try:
        return _DECISION.validate_python(row.content)
    except ValidationError as error:
        fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    raise FileError(f"{name}, {row.id}: is no decision ({where}: {fault['msg']}); {_SCORES}")


def samples_of(source: Source, fields: Fields, decisions: Sequence[wire.Decision]) -> Iterator[dict[str, Any]]:
    """The samples that decisions are about, one for each; nothing of a row that is none. There may be a decision on
    such a row, or none, as where gradients were scored again.

    :raises FileError: the file holds other rows, or a row is no sample; the message names it.
    """
    matched = rows = 0
    for position, row in enumerate(source.all_rows(fields.wanted | {"id"})):
        decision = decisions[matched] if matched < len(decisions) else None
        if (decision is None or not _is_about(decision, row, position)) and _is_no_sample(row, fields):
            continue
        rows += 1
        if decision is not None:
            _check(source, row, fields, position, decision)
            matched += 1
            yield {} if decision.reason in NO_SAMPLES else fields.sample(row)
    if rows != len(decisions):
        raise FileError(f"{source.name}: has {rows} rows, and there are {len(decisions)} decisions; {_SAMPLES}")


def _is_about(decision: wire.Decision, row: Row, position: int) -> bool:
    return decision.id in (row.id, str(row.content.get("id")), str(position))


def _is_no_sample(row: Row, fields: Fields) -> bool:
    if row.fault is not None:
        return True
    try:
        sample_of(row, fields)
    except NoSampleError:
        return True
    return False


def _check(source: Source, row: Row, fields: Fields, position: int, decision: wire.Decision) -> None:
    """Whether a decision can be about a row: by its place in the file, its own id, or its number in a call of the SDK;
    and by its language, where the row has one."""
    where = f"{source.name}, {row.id}"
    if not _is_about(decision, row, position):
        raise FileError(f"{where}: the decision in its place is about {decision.id!r}; {_SAMPLES}")
    if decision.reason in NO_SAMPLES:
        return
    if row.fault is not None:
        raise FileError(f"{where}: {row.fault}")
    try:
        tag = language_of({"language": decision.language} | sample_of(row, fields))
    except NoSampleError as error:
        raise FileError(f"{where}: {error}; the columns are {', '.join(row.content)}") from error
    if tag != decision.language:
        raise FileError(f"{where}: is in {tag!r}, and its decision about a pair in {decision.language!r}; {_SAMPLES}")
