"""JSON: a list of objects."""

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from congrad.files.kinds.rows import UNREADABLE, FileError, Row
from congrad.files.kinds.values import encode

SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


def read(stream: BinaryIO, name: str) -> Iterator[Row]:
    """The rows; an item that is no object says so.

    :raises FileError: it is not a list.
    """
    try:
        text = stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{name}: is not UTF-8: {error}") from error
    for number, (start, content, end) in enumerate(_items(text, name), start=1):
        source = text[start:end].encode("utf-8", "backslashreplace")
        if isinstance(content, dict):
            yield Row(f"row {number}", content, source)
        else:
            yield Row(f"row {number}", {UNREADABLE: content}, source, "is not a JSON object")


def _items(text: str, name: str) -> Iterator[tuple[int, Any, int]]:
    """Each item of the list, and where its text starts and ends: parsed one by one, so that it can be written again."""
    position = _next(text, 0)
    # Slices, here and below: past the end they are empty, where an index would raise.
    if text[position : position + 1] == "{":
        raise FileError(f"{name}: is an object, not a list of them; one object on each line is the format jsonl")
    if text[position : position + 1] != "[":
        raise FileError(f"{name}: is not a JSON list of objects")
    closing = _next(text, position + 1)
    while text[closing : closing + 1] != "]":
        start = _next(text, position + 1)
        content, end = _item(text, start, name)
        yield start, content, end
        position = closing = _next(text, end)
        if text[position : position + 1] not in (",", "]"):
            raise FileError(f"{name}: is not JSON: a comma or the end of the list is missing at character {position}")
    if _next(text, closing + 1) != len(text):
        raise FileError(f"{name}: is not JSON: something follows the list at character {closing + 1}")


def _item(text: str, start: int, name: str) -> tuple[Any, int]:
    try:
        return DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{name}: is not JSON: {error}") from error


def _next(text: str, position: int) -> int:
    """The first character from ``position`` on that is not white space."""
    match = SPACE.match(text, position)
    return match.end() if match else position


class JsonWriter:
    """Writes rows.

    :param as_read: whether rows come from such a file, and leave as they were written there.
    """

    def __init__(self, stream: BinaryIO, as_read: bool):
        self._stream = stream
        self._as_read = as_read
        self._before = b"[\n"

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Writes a row with further columns."""
        item: bytes = row.source if self._as_read and not extra else encode(row.content | extra)
        self._stream.write(self._before + item)
        self._before = b",\n"

    def finish(self) -> None:
        """Closes the list."""
        self._stream.write(b"[]\n" if self._before.startswith(b"[") else b"\n]\n")
