"""Files to write rows to. They take their place whole, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from congrad.files.formats import STANDARD_STREAM, Format
from congrad.files.kinds.csv_file import COMMA, TAB, CsvWriter
from congrad.files.kinds.json_file import JsonWriter
from congrad.files.kinds.jsonl_file import JsonlWriter
from congrad.files.kinds.parquet_file import DECISION, NO_COLUMN, ParquetBuilder, ParquetCopier
from congrad.files.kinds.rows import FileError, Row
from congrad.files.opening.compression import check_compression, compressing
from congrad.files.opening.remote import is_remote, remote_file
from congrad.files.source import Source
from congrad.files.streams import descriptor_of, is_special, opened, resolved
from congrad.files.trial import Form

if TYPE_CHECKING:
    import pyarrow


class Writer(Protocol):
    """Writes rows in one format."""

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Writes a row with further columns."""

    def finish(self) -> None:
        """Writes what is left, once all rows are in."""


@contextmanager
def rows_to(
    path: str, form: Form, source: Source, columns: Sequence[str], schema: pyarrow.Schema | None
) -> Iterator[Writer]:
    """Writes some rows of ``source``, as they came where the formats are the same.

    :param columns: those that the rows have.
    :param schema: these with their types, where Parquet is built of another format.
    :raises FileError: they cannot be written.
    """
    if form.with_decision:
        columns = [*(column for column in columns if column != DECISION), DECISION]
    with replacing(path) as stream:
        try:
            writer = _writer(stream, form, source, columns, schema)
            yield writer
            writer.finish()
        except NO_COLUMN as error:
            raise FileError(f"{path}: cannot be written as {form.format}: {error}") from error


def _writer(
    stream: BinaryIO, form: Form, source: Source, columns: Sequence[str], schema: pyarrow.Schema | None
) -> Writer:
    as_read = form.format is source.format
    delimiter = source.delimiter if as_read else TAB if form.format is Format.TSV else COMMA
    match form.format:
        case Format.JSONL:
            return JsonlWriter(stream, as_read)
        case Format.JSON:
            return JsonWriter(stream, as_read)
        case Format.CSV | Format.TSV:
            return CsvWriter(stream, columns, as_read, delimiter)
        case Format.PARQUET if as_read:
            return ParquetCopier(stream, source.schema(), form.with_decision)
        case Format.PARQUET:
            return ParquetBuilder(stream, schema, form.with_decision)


def check_writable(path: str) -> None:
    """Finds out before the work whether its result can be written.

    :raises FileError: it cannot.
    """
    check_compression(path)
    descriptor = descriptor_of(path)
    if descriptor is not None:
        _check_open(path, descriptor)
    if descriptor is not None or is_remote(path):
        return
    folder = resolved(path).parent
    if not folder.is_dir():
        raise FileError(f"{path}: there is no such folder")
    if Path(path).is_dir():
        raise FileError(f"{path}: is a folder; a file should be named")
    if not os.access(path if is_special(path) else folder, os.W_OK):
        raise FileError(f"{path}: nothing can be written {'to it' if is_special(path) else 'into its folder'}")


def _check_open(path: str, descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file that takes the place of the one at ``path`` when the block ends without an error.

    :raises FileError: it cannot be written.
    """
    try:
        if is_special(path):
            # A pipe cannot be taken back: nothing goes into it before everything is there.
            with tempfile.TemporaryFile() as draft:
                with compressing(draft, path) as stream:
                    yield stream
                draft.seek(0)
                _pour(draft, path)
        else:
            # What a link leads to is replaced, and the link left as it is.
            yield from _draft(resolved(path), path)
    except BrokenPipeError:  # whoever reads has had enough, as `head` does; typer then ends the command without a word
        raise
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error


def _pour(draft: BinaryIO, path: str) -> None:
    if path == STANDARD_STREAM:
        shutil.copyfileobj(draft, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif is_remote(path):
        with remote_file(path, "wb") as elsewhere:
            shutil.copyfileobj(draft, elsewhere)
    else:
        with opened(path) as special:
            shutil.copyfileobj(draft, special)


def _draft(target: Path, path: str) -> Iterator[BinaryIO]:
    # In the folder of the target: a rename is atomic within one file system only.
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("xb") as stream:
            with compressing(stream, path) as whole:
                yield whole
            stream.flush()
            # On the disk before it has the name: after a loss of power that name could otherwise lead to an empty file.
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
