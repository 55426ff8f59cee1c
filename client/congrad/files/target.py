"""Files to write rows to. They take their place whole, or not at all."""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from congrad.files.csv_file import CsvWriter
from congrad.files.formats import STANDARD_STREAM, Format
from congrad.files.json_file import JsonWriter
from congrad.files.jsonl_file import JsonlWriter
from congrad.files.parquet_file import DECISION, ParquetBuilder, ParquetCopier
from congrad.files.rows import FileError, Row
from congrad.files.source import Source


class Writer(Protocol):
    """Writes rows in one format."""

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Writes a row with further columns."""

    def finish(self) -> None:
        """Writes what is left, once all rows are in."""


@contextmanager
def rows_to(
    path: str, as_format: Format, source: Source, columns: Sequence[str], with_decision: bool = False
) -> Iterator[Writer]:
    """Writes some rows of ``source``, as they came where the formats are the same.

    :param columns: those that the rows have.
    :param with_decision: whether each row comes with a further column, its decision.
    :raises FileError: they cannot be written.
    """
    if with_decision:
        columns = [*(column for column in columns if column != DECISION), DECISION]
    with replacing(path) as stream:
        writer = _writer(path, stream, as_format, source, columns, with_decision)
        try:
            yield writer
            writer.finish()
        except TypeError as error:  # a value of Arrow's that JSON has no form for
            raise FileError(f"{path}: cannot be written as {as_format}: {error}") from error


def _writer(
    path: str, stream: BinaryIO, as_format: Format, source: Source, columns: Sequence[str], with_decision: bool
) -> Writer:
    as_read = as_format is source.format
    match as_format:
        case Format.JSONL:
            return JsonlWriter(stream, as_read)
        case Format.JSON:
            return JsonWriter(stream, as_read)
        case Format.CSV:
            return CsvWriter(stream, columns, as_read)
        case Format.PARQUET if as_read:
            return ParquetCopier(stream, source.schema(), with_decision)
        case Format.PARQUET:
            return ParquetBuilder(stream, columns, with_decision, path)


def check_writable(path: str) -> None:
    """Finds out before the work whether its result can be written.

    :raises FileError: it cannot.
    """
    if path == STANDARD_STREAM:
        return
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise FileError(f"{path}: there is no such folder")
    if Path(path).is_dir():
        raise FileError(f"{path}: is a folder; a file should be named")
    if not os.access(folder, os.W_OK):
        raise FileError(f"{path}: nothing can be written into its folder")


def is_special(path: str) -> bool:
    """Whether it is a pipe or a device, which is written to and never replaced."""
    return path == STANDARD_STREAM or (Path(path).exists() and not Path(path).is_file())


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file that takes the place of the one at ``path`` when the block ends without an error.

    :raises FileError: it cannot be written.
    """
    try:
        if is_special(path):
            with tempfile.TemporaryFile() as draft:
                yield draft
                draft.seek(0)
                _pour(draft, path)
        else:
            yield from _draft(Path(path).resolve())
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error


def _pour(draft: BinaryIO, path: str) -> None:
    if path == STANDARD_STREAM:
        shutil.copyfileobj(draft, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        with Path(path).open("wb") as special:
            shutil.copyfileobj(draft, special)


def _draft(target: Path) -> Iterator[BinaryIO]:
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
