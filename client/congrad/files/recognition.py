"""What the rows of a file are."""

from congrad.files.kinds.rows import FileError
from congrad.files.source import Source
from congrad.formats.fields import Fields
from congrad.formats.recognition import Recognised, recognised
from congrad.formats.registry import AUTO, ROWS, UnknownFormatError
from congrad.formats.row_format import Row


def recognised_in(source: Source, fields: Fields, name: str = AUTO) -> Recognised:
    """Looks at the first rows of a file.

    :param fields: what is said of columns and languages.
    :param name: of a format, or ``auto``.
    :raises FileError: the rows are of no format, or the file cannot be read.
    """
    rows = _first(source, fields)
    if not rows:  # who reads all rows says what is wrong with them
        return Recognised(fields, "")
    try:
        return recognised(rows, fields, name)
    except UnknownFormatError as error:
        raise FileError(f"{source.name}: {error}") from error


def _first(source: Source, fields: Fields) -> list[Row]:
    return [row.content for row in source.first(fields.seen, ROWS) if row.fault is None]
