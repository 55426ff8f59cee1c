"""A file to read rows from, as often as they are needed."""

import codecs
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from congrad.files.formats import STANDARD_STREAM, Format, format_of, no_text, unknown
from congrad.files.kinds import csv_file, json_file, jsonl_file, parquet_file
from congrad.files.kinds.rows import FileError, Row
from congrad.files.opening.compression import check_compression, compression_of, damages, decompressed
from congrad.files.opening.encodings import as_utf8, beginning
from congrad.files.opening.remote import is_remote, remote_file
from congrad.files.opening.signatures import LONGEST, compression_in

SNIFFED = 4_096
"""Bytes that are looked at to tell a list from objects on lines."""


class Source:
    """Rows of a file. They are read anew each time, so that a large file is never held; what comes through a pipe is
    kept in a temporary file until this is closed.

    :param path: ``-`` is standard input.
    :param as_format: default: what the suffix says.
    :param fields: which field of a sample a column is read for; a CSV file's cells do not say what they hold.
    :raises FileError: it is not there, or its format cannot be told.

    ``format`` is what it is, and ``by_suffix`` what its suffix says, which for JSON may be another. ``paths`` has what
    was given.
    """

    def __init__(self, path: str, as_format: Format | None = None, fields: Mapping[str, str] | None = None):
        self.paths = [path]
        self.name = "standard input" if path == STANDARD_STREAM else path
        self.by_suffix = self.format = _known(path, as_format)
        self._fields = fields or {}
        self._copy: Any = None
        self._path = Path(path)
        check_compression(path)
        with _reading(self.name):
            self._fetch(path)
            self._compression = compression_of(path) or self._recognised()
            if self.format is Format.PARQUET and self._compression is not None:
                self._unpack()
            self._stamp = self._state()
        self._check_text()
        if as_format is None:
            self.format = self._sniffed()
        self.delimiter = self._delimiter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._copy is not None:
            self._copy.close()

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """All rows.

        :param columns: those whose values are wanted; default: all. A Parquet file's others are then not in a row's
            ``content``.
        :raises FileError: the file or one of its rows cannot be read, is not of its format, or has changed since it was
            read before.
        """
        for row in self.all_rows(columns):
            if row.fault is not None:
                raise FileError(f"{self.name}, {row.id}: {row.fault}")
            yield row

    def all_rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """`rows`, with those that cannot be read, which have a ``fault``.

        :raises FileError: the file cannot be read, is not of its format, or has changed since it was read before.
        """
        with self._opened() as stream:
            match self.format:
                case Format.JSONL:
                    yield from jsonl_file.read(stream)
                case Format.JSON:
                    yield from json_file.read(stream, self.name)
                case Format.CSV | Format.TSV:
                    yield from csv_file.read(stream, self.name, self._fields, self.delimiter)
                case Format.PARQUET:
                    yield from parquet_file.read(stream, self.name, columns)

    def header(self) -> list[str]:
        """The columns that the file names before its rows; none where it does not.

        :raises FileError: the file cannot be read, or is not of its format.
        """
        if self.format is Format.PARQUET:
            return list(self.schema().names)
        if self.format not in (Format.CSV, Format.TSV):
            return []
        with self._opened() as stream:
            return csv_file.header(stream, self.name, self.delimiter)

    def first(self, columns: Collection[str], count: int) -> list[Row]:
        """The first rows, those that cannot be read among them."""
        return list(islice(self.all_rows(columns), count))

    def schema(self) -> Any:
        """The schema of a Parquet file.

        :raises FileError: the file cannot be read, or is not Parquet.
        """
        with self._opened() as stream:
            return parquet_file.schema(stream, self.name)

    def _fetch(self, path: str) -> None:
        """Keeps what can be read only once, or only from its beginning to its end."""
        if path == STANDARD_STREAM:
            self._keep(sys.stdin.buffer)
        elif is_remote(path):
            with remote_file(path, "rb") as stream:
                self._keep(stream)
        elif self._path.exists() and not self._path.is_file() and not self._path.is_dir():
            with self._path.open("rb") as pipe:
                self._keep(pipe)

    def _recognised(self) -> str | None:
        """The suffix of a compression that the name does not tell."""
        if self._path.is_dir():
            return None
        with self._path.open("rb") as file:
            return compression_in(file.read(LONGEST))

    def _unpack(self) -> None:
        """Parquet is not read from its beginning to its end, as what is compressed can be."""
        with self._path.open("rb") as file, decompressed(file, self._compression, self.name) as whole:
            self._keep(whole)
        self._compression = None

    def _check_text(self) -> None:
        if self.format is Format.PARQUET or self._path.is_dir():
            return
        with self._opened() as stream:
            told = no_text(beginning(stream, LONGEST))
        if told is not None:
            raise FileError(f"{self.name}: {told}")

    def _sniffed(self) -> Format:
        """What the file is where its suffix is one of JSON: people give either one to both."""
        if self.format not in (Format.JSON, Format.JSONL) or self._path.is_dir():
            return self.format
        with self._opened() as stream:
            start = beginning(stream, SNIFFED).removeprefix(codecs.BOM_UTF8).lstrip()
        if self.format is Format.JSON and start.startswith(b"{") and not re.match(rb"\{\s*\n", start):
            return Format.JSONL
        return Format.JSON if re.match(rb"\[\s*\{", start) else self.format

    def _delimiter(self) -> str:
        if self.format is not Format.CSV or self._path.is_dir():
            return csv_file.TAB if self.format is Format.TSV else csv_file.COMMA
        with self._opened() as stream:
            return csv_file.delimiter_of(stream)

    def _keep(self, stream: BinaryIO) -> None:
        self._copy = tempfile.NamedTemporaryFile(prefix="congrad-")  # noqa: SIM115 # closed with the source
        shutil.copyfileobj(stream, self._copy)
        # It is opened by its name from now on, and would be seen without what is still in the buffer.
        self._copy.flush()
        self._path = Path(self._copy.name)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        with _reading(self.name):
            # Rows are read twice or more, and an answer belongs to a row by nothing but its place.
            if self._state() != self._stamp:
                raise FileError(f"{self.name}: has changed while it was read")
            file = self._path.open("rb")
        with file:
            try:
                stream = decompressed(file, self._compression, self.name)
                yield stream if self.format is Format.PARQUET else as_utf8(stream)
            except UnicodeDecodeError as error:
                raise FileError(f"{self.name}: is not in the encoding that its mark says: {error}") from error
            except damages() as error:
                raise FileError(f"{self.name}: cannot be read: {error}") from error

    def _state(self) -> tuple[int, int]:
        state = self._path.stat()
        return state.st_mtime_ns, state.st_size


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(f"{name}: cannot be read: {error.strerror or error}") from error


def _known(path: str, given: Format | None) -> Format:
    found = given or format_of(path)
    if found is None:
        raise FileError(unknown(path))
    if found is Format.PARQUET:
        parquet_file.require_pyarrow()
    return found


def same_file(first: str, second: str) -> bool:
    """Whether two paths lead to one file, or would."""
    if STANDARD_STREAM in (first, second):
        return first == second
    return os.path.realpath(first) == os.path.realpath(second)
