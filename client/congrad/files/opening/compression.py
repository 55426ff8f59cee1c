"""Files that are compressed, by their suffixes."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from congrad.files.kinds.rows import FileError

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")

ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def damages() -> tuple[type[Exception], ...]:
    """What is raised where a file is not of its compression, or has been cut off."""
    zstd = sys.modules.get(ZSTD)
    return (EOFError, OSError, zlib.error, lzma.LZMAError, *([] if zstd is None else [zstd.ZstdError]))


def compression_of(path: str) -> str | None:
    """The suffix that says how it is compressed."""
    suffix = PurePath(path).suffix.lower()
    return suffix if suffix in SUFFIXES else None


def bare(path: str) -> str:
    """The path without that suffix."""
    return path if compression_of(path) is None else path[: -len(PurePath(path).suffix)]


def decompressed(stream: BinaryIO, suffix: str | None, path: str) -> BinaryIO:
    """What a file holds that is compressed as a suffix says, as it is read.

    :raises FileError: what reads it is not installed.
    """
    return stream if suffix is None else cast("BinaryIO", io.BufferedReader(_opener(suffix, path)(stream, "rb")))


@contextmanager
def compressing(stream: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """Compresses what is written for a file of this name.

    :raises FileError: what compresses it is not installed.
    """
    suffix = compression_of(path)
    if suffix is None:
        yield stream
    else:
        with _opener(suffix, path)(stream, "wb") as whole:
            yield whole


def check_compression(path: str) -> None:
    """:raises FileError: what reads and writes files of this name is not installed."""
    if (suffix := compression_of(path)) is not None:
        _opener(suffix, path)


def _opener(suffix: str, path: str) -> Callable[[BinaryIO, str], Any]:
    match suffix:
        case ".gz":
            # Without the time, so that the same rows make the same file.
            return lambda stream, mode: gzip.GzipFile(filename="", mode=mode, fileobj=stream, mtime=0)
        case ".bz2":
            opener: Any = bz2.BZ2File  # its stubs tell modes apart that are not known here
            return lambda stream, mode: opener(stream, mode)
        case ".xz":
            return lambda stream, mode: lzma.LZMAFile(stream, mode)
    try:
        zstd = importlib.import_module(ZSTD)
    except ImportError:
        raise FileError(f"{path}: needs {ZSTD}; install it with: pip install 'congrad-filter[zstd]'") from None
    return lambda stream, mode: zstd.ZstdFile(stream, mode)
