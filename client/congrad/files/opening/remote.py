"""Files elsewhere, such as ``s3://`` and ``hf://``, through fsspec, which `congrad-filter[remote]` brings."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from congrad.files.kinds.rows import FileError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

GLOB = re.compile(r"[*?\[]")


def is_remote(path: str) -> bool:
    """Whether it is the address of a file elsewhere."""
    return URL.match(path) is not None


def files_at(address: str) -> list[str]:
    """The addresses of all files that one stands for: itself, those of a folder, or those that match.

    :raises FileError: they cannot be told.
    """
    with _reached(address):
        system, path = _fsspec().core.url_to_fs(address)
        if GLOB.search(path):
            found = [name for name in system.glob(path) if system.isfile(name)]
        else:
            found = system.find(path) if system.isdir(path) else [path]
        return sorted(system.unstrip_protocol(name) for name in found)


@contextmanager
def remote_file(address: str, mode: str) -> Iterator[BinaryIO]:
    """A file elsewhere, opened to be read (``rb``) or written (``wb``).

    :raises FileError: it cannot be reached.
    """
    with _reached(address), _fsspec().open(address, mode) as stream:
        yield stream


@contextmanager
def _reached(address: str) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise FileError(f"{address}: cannot be reached: {error or type(error).__name__}") from error


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise FileError(
            "files at an address need fsspec; install it with: pip install 'congrad-filter[remote]'"
        ) from None
    return fsspec
