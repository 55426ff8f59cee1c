"""Text files that say by their first bytes that they are in UTF-16 or UTF-32, read as UTF-8."""

import codecs
import io
from typing import BinaryIO, cast

MARKS = {
    # The longer ones first: that of UTF-32 begins with that of UTF-16.
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

CHARACTERS = 65_536
"""Recoded at a time."""


def as_utf8(stream: BinaryIO) -> BinaryIO:
    """The same text in UTF-8.

    Reading raises UnicodeDecodeError where the text is not in the encoding that its mark says.
    """
    buffered = stream if hasattr(stream, "peek") else cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", stream)))
    start = beginning(buffered, 4)
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
    return buffered if encoding is None else cast("BinaryIO", io.BufferedReader(_Recoded(buffered, encoding)))


def beginning(stream: BinaryIO, size: int) -> bytes:
    """The first bytes, which are not taken from the stream; fewer where there are no more."""
    return cast("io.BufferedReader", stream).peek(size)[:size]


class _Recoded(io.RawIOBase):
    def __init__(self, stream: BinaryIO, encoding: str):
        super().__init__()
        self._text = io.TextIOWrapper(cast("io.BufferedReader", stream), encoding=encoding, newline="")
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._left:
            self._left = self._text.read(CHARACTERS).encode("utf-8", "surrogatepass")
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
