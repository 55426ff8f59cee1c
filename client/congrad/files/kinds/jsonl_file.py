"""JSON Lines: an object on each line."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from congrad.files.kinds.rows import UNREADABLE, Row
from congrad.files.kinds.values import encode, not_utf_8, told


def read(stream: BinaryIO) -> Iterator[Row]:
    """The rows; blank lines are passed over, and one that is not an object says so."""
    # Lines end at \n only: JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(stream, start=1):
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if text.strip():
            yield _row(f"line {number}", text)


def _row(name: str, line: bytes) -> Row:
    try:
        content = json.loads(line.decode())
    except UnicodeDecodeError as error:
        fault = f"is not UTF-8: {not_utf_8(error)}"
    except (ValueError, RecursionError) as error:
        fault = f"is not JSON: {told(error)}"
    else:
        if isinstance(content, dict):
            return Row(name, content, line)
        fault = "is not a JSON object"
    return Row(name, {UNREADABLE: line.decode(errors="backslashreplace").strip()}, line, fault)


class JsonlWriter:
    """Writes rows.

    :param as_read: whether rows come from JSON Lines, and leave byte for byte as they came.
    """

    def __init__(self, stream: BinaryIO, as_read: bool):
        self._stream = stream
        self._as_read = as_read

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Writes a row with further columns."""
        line: bytes = row.source if self._as_read and not extra else encode(row.content | extra)
        self._stream.write(line if line.endswith(b"\n") else line + b"\n")

    def finish(self) -> None:
        """Nothing is left to write."""
