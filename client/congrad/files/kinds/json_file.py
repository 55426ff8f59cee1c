"""JSON: a list of objects."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from congrad.files.kinds.rows import UNREADABLE, FileError, Row
from congrad.files.kinds.values import encode, not_utf_8, told

SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()

CHUNK = 2**18
"""Bytes that are read at a time."""

LONGEST_TOKEN = 16
"""Of a word or an escape in JSON, with some to spare."""


def read(stream: BinaryIO, name: str) -> Iterator[Row]:
    """The rows; an item that is no object says so.

    :raises FileError: it is not a list.
    """
    for number, (content, text) in enumerate(_items(_Window(stream, name), name), start=1):
        source = text.encode("utf-8", "backslashreplace")
        if isinstance(content, dict):
            yield Row(f"row {number}", content, source)
        else:
            yield Row(f"row {number}", {UNREADABLE: content}, source, "is not a JSON object")


def _items(window: "_Window", name: str) -> Iterator[tuple[Any, str]]:
    """Each item of the list, and its text: parsed one by one, so that it can be written again."""
    first = window.character()
    if first == "{":
        raise FileError(f"{name}: is an object, not a list of them; one object on each line is the format jsonl")
    if first != "[":
        raise FileError(f"{name}: is not a JSON list of objects")
    window.skip()
    character = window.character()
    while character != "]":
        yield window.item()
        character = window.character()
        if character not in (",", "]"):
            raise FileError(
                f"{name}: is not JSON: a comma or the end of the list is missing at character {window.position}"
            )
        if character == ",":
            window.skip()
    window.skip()
    if window.character():
        raise FileError(f"{name}: is not JSON: something follows the list at character {window.position}")


class _Window:
    """A part of a text, which moves on as it is read: a large file is never held."""

    def __init__(self, stream: BinaryIO, name: str):
        self._stream = stream
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._before = 0
        self._is_whole = False

    @property
    def position(self) -> int:
        """Characters of the whole text that have been passed."""
        return self._before + self._at

    def character(self) -> str:
        """The next one that is not white space; empty where there is none."""
        while True:
            match = SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._more(CHUNK):
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Passes over a character."""
        self._at += 1

    def item(self) -> tuple[Any, str]:
        """The value that begins at the next character, and its text."""
        self.character()
        size = CHUNK
        while True:
            try:
                content, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._may_be_cut(error) or not self._more(size):
                    raise FileError(f"{self._name}: is not JSON: {told(error, self._before)}") from error
            except RecursionError as error:
                raise FileError(f"{self._name}: is not JSON: {error}") from error
            else:
                if end < len(self._text) or not self._more(size):
                    text = self._text[self._at : end]
                    self._at = end
                    return content, text
            size *= 2  # so that one long item is not parsed again for each chunk

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the fault may be that the item goes on behind what has been read."""
        return error.msg.startswith("Unterminated string") or error.pos > len(self._text) - LONGEST_TOKEN

    def _more(self, size: int) -> bool:
        """Reads on; whether there was anything."""
        if self._is_whole:
            return False
        chunk = self._stream.read(size)
        self._is_whole = not chunk
        try:
            new = self._decoder.decode(chunk, final=self._is_whole)
        except UnicodeDecodeError as error:
            raise FileError(f"{self._name}: is not UTF-8: {not_utf_8(error)}") from error
        self._before += self._at
        self._text, self._at = self._text[self._at :] + new, 0
        return True


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
