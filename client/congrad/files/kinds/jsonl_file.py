"""JSON Lines: an object on each line."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from congrad.files.kinds.rows import FileError, Row
from congrad.files.kinds.values import encode


def read(stream: BinaryIO, name: str) -> Iterator[Row]:
    """The rows; blank lines are passed over.

    :raises FileError: a line is not an object.
    """
    # Lines end at \n only: JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(stream, start=1):
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if text.strip():
            yield Row(f"line {number}", _object(text, f"{name}, line {number}"), text)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise FileError(f"{where}: is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{where}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise FileError(f"{where}: is not a JSON object")
    return content


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
