"""What the rows of a file are."""

from collections.abc import Collection, Iterator
from functools import partial

from congrad.files.kinds.rows import FileError
from congrad.files.source import Source
from congrad.formats.fields import Fields
from congrad.formats.recognition import Recognised, recognised
from congrad.formats.registry import AUTO, ROWS, UnknownFormatError, unknown
from congrad.formats.row_format import Row
from congrad.formats.verdict import VerdictError


def recognised_in(source: Source, fields: Fields, name: str = AUTO) -> Recognised:
    """Looks at the first rows of a file, and at all of them for what one of the first alone may not say.

    :param fields: what is said of columns, languages and verdicts.
    :param name: of a format, or ``auto``.
    :raises FileError: the rows are of no format, what their verdicts mean cannot be told, or the file cannot be read.
    """
    rows = _first(source, fields)
    if not rows:  # who reads all rows says what is wrong with them
        return Recognised(fields, "")
    try:
        return recognised(rows, fields, name, partial(_every, source))
    except UnknownFormatError as error:
        # Of a file of columns, only those of known formats were read; the others are what tells the user which it has.
        named = [dict.fromkeys(source.header()), *map(fields.renamed, rows)]
        raise FileError(f"{source.name}: {unknown(named)}") from error
    except VerdictError as error:
        raise FileError(f"{source.name}: {error}") from error


def _first(source: Source, fields: Fields) -> list[Row]:
    return [row.content for row in source.first(fields.seen, ROWS) if row.fault is None]


def _every(source: Source, columns: Collection[str]) -> Iterator[Row]:
    return (row.content for row in source.all_rows(columns) if row.fault is None)
