"""A file to read rows from, as often as they are needed."""

import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from congrad.files.formats import STANDARD_STREAM, SUFFIXES, Format, format_of
from congrad.files.kinds import csv_file, json_file, jsonl_file, parquet_file
from congrad.files.kinds.rows import FileError, Row


class Source:
    """Rows of a file. They are read anew each time, so that a large file is never held; what comes through a pipe is
    kept in a temporary file until this is closed.

    :param path: ``-`` is standard input.
    :param as_format: default: what the suffix says.
    :param fields: which field of a sample a column is read for; a CSV file's cells do not say what they hold.
    :raises FileError: it is not there, or its format cannot be told.
    """

    def __init__(self, path: str, as_format: Format | None = None, fields: Mapping[str, str] | None = None):
        self.name = "standard input" if path == STANDARD_STREAM else path
        self.format = _known(path, as_format)
        self._fields = fields or {}
        self._copy: Any = None
        self._path = Path(path)
        with _reading(self.name):
            if path == STANDARD_STREAM:
                self._keep(sys.stdin.buffer)
            elif self._path.exists() and not self._path.is_file() and not self._path.is_dir():
                with self._path.open("rb") as pipe:
                    self._keep(pipe)
            self._stamp = self._state()

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
                case Format.CSV:
                    yield from csv_file.read(stream, self.name, self._fields)
                case Format.PARQUET:
                    yield from parquet_file.read(stream, self.name, columns)

    def header(self) -> list[str]:
        """The columns that the file names before its rows; none where it does not.

        :raises FileError: the file cannot be read, or is not of its format.
        """
        if self.format is Format.PARQUET:
            return list(self.schema().names)
        if self.format is not Format.CSV:
            return []
        with self._opened() as stream:
            return csv_file.header(stream, self.name)

    def schema(self) -> Any:
        """The schema of a Parquet file.

        :raises FileError: the file cannot be read, or is not Parquet.
        """
        with self._opened() as stream:
            return parquet_file.schema(stream, self.name)

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
            stream = self._path.open("rb")
        with stream:
            yield stream

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
        known = ", ".join(SUFFIXES)
        raise FileError(f"{path}: its suffix is none of {known}; say what it is with --input-format")
    if found is Format.PARQUET:
        parquet_file.require_pyarrow()
    return found


def same_file(first: str, second: str) -> bool:
    """Whether two paths lead to one file, or would."""
    if STANDARD_STREAM in (first, second):
        return first == second
    return os.path.realpath(first) == os.path.realpath(second)
