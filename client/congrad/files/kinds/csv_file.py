"""CSV: commas, quotes, and a header. An empty cell is a missing value."""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TextIO

from congrad.files.kinds.rows import UNREADABLE, FileError, Row, repeated
from congrad.files.kinds.values import cell_of, not_utf_8, value_of

LONGEST_CELL = 2**31 - 1
"""The csv module's own limit, 128 KiB, is short for a text."""

LINE_END = "\r\n"

COMMA, TAB = ",", "\t"
DELIMITERS = (COMMA, ";", TAB, "|")

HINTS = {
    "new-line": "; its lines should end with a line feed",
    "unexpected end": "; a quote that is opened in this row is never closed",
    "expected after": "; a quote within a quoted cell should be doubled",
}
"""What to look for, by the words of the csv module's errors."""


def delimiter_of(stream: BinaryIO) -> str:
    """What stands between the cells: what makes most columns of the header, where names hold none of them."""
    line = stream.readline().removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    try:
        return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([line], delimiter=delimiter), [])))
    except csv.Error:  # whoever reads the header says what is wrong with it
        return COMMA


def header(stream: BinaryIO, name: str, delimiter: str = COMMA) -> list[str]:
    """The names of the columns.

    :raises FileError: there is no header, or a name occurs twice.
    """
    return _header(_lines(stream, name, delimiter), name)


def _header(lines: Iterator[list[str]], name: str) -> list[str]:
    columns = next(lines, None)
    if columns is None:
        raise FileError(f"{name}: has no header")
    if twice := repeated(columns):
        raise FileError(f"{name}: has two columns {', '.join(map(repr, twice))}")
    return columns


def read(stream: BinaryIO, name: str, fields: Mapping[str, str], delimiter: str = COMMA) -> Iterator[Row]:
    """The rows; one that has more or fewer cells than the header, or a cell that cannot be its field, says so.

    :param fields: which field of a sample a column is read for.
    :raises FileError: it is not CSV, or its header is none.
    """
    lines = _lines(stream, name, delimiter)
    columns = _header(lines, name)
    for number, cells in enumerate(lines, start=1):
        if len(cells) == len(columns):
            yield _row(f"row {number}", dict(zip(columns, cells, strict=True)), fields)
        else:
            fault = f"has {len(cells)} cells; the header has {len(columns)}"
            unreadable = {UNREADABLE: _line_of(cells, delimiter)}
            yield Row(f"row {number}", unreadable, unreadable, fault)


def _lines(stream: BinaryIO, name: str, delimiter: str) -> Iterator[list[str]]:
    # Of the whole process: the module has no limit for one reader.
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(_decoded(stream, name), strict=True, delimiter=delimiter)
    begins = 1
    try:
        for cells in reader:
            begins = reader.line_num + 1
            if cells:
                yield cells
    except csv.Error as error:
        # Where the row begins, not where the reader stands: a quote that is not closed takes in all lines to the end.
        where, fault = f"{name}, line {begins}", str(error).partition(" - ")[0]
        hint = next((hint for words, hint in HINTS.items() if words in fault), "")
        raise FileError(f"{where}: is not CSV in UTF-8: {fault}{hint}") from error


def _line_of(cells: Sequence[str], delimiter: str) -> str:
    """Cells as a line that can be read again: one may hold what stands between them."""
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(cells)
    return line.getvalue()


def _decoded(stream: BinaryIO, name: str) -> Iterator[str]:
    # Bytes are cut at line feeds alone: a file of text would cut a quoted cell at its carriage returns as well.
    for number, line in enumerate(stream, start=1):
        try:
            yield (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise FileError(f"{name}, line {number}: is not CSV in UTF-8: {not_utf_8(error)}") from error


def _row(name: str, source: Mapping[str, str], fields: Mapping[str, str]) -> Row:
    content: dict[str, Any] = {}
    fault = None
    for column, cell in source.items():
        if cell:
            try:
                content[column] = value_of(fields.get(column), cell)
            except ValueError as error:
                content[column] = cell
                fault = fault or f"{column}: {error}"
    return Row(name, content, source, fault)


class _Lines:
    """Ends lines with a line feed alone. The writer itself is told to end them with both characters, as it quotes no
    others: a carriage return in a cell that is not quoted cannot be read again."""

    def __init__(self, text: TextIO):
        self._text = text

    def write(self, line: str) -> None:
        """Takes one line with its end, as the writer gives them."""
        self._text.write(line.removesuffix(LINE_END) + "\n")


class CsvWriter:
    """Writes rows.

    :param columns: the header.
    :param as_read: whether rows come from CSV, and their cells leave as they came.
    """

    def __init__(self, stream: BinaryIO, columns: Sequence[str], as_read: bool, delimiter: str = COMMA):
        self._text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
        self._columns = columns
        self._as_read = as_read
        self._writer = csv.writer(_Lines(self._text), lineterminator=LINE_END, delimiter=delimiter)
        self._writer.writerow(columns)

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Writes a row with further columns.

        :raises TypeError: a value has no form in CSV.
        """
        values = (row.source if self._as_read else row.content) | extra
        self._writer.writerow([cell_of(values.get(column)) for column in self._columns])

    def finish(self) -> None:
        """Writes what is buffered."""
        self._text.flush()
        # Else the wrapper closes the stream when it is collected, and the file is not yet in its place.
        self._text.detach()
