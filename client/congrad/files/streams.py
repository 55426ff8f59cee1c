"""Outputs that are streams: what is open already is written to where it stands, and never replaced."""

import os
import re
import sys
from pathlib import Path
from typing import BinaryIO

from congrad.files.formats import STANDARD_STREAM
from congrad.files.kinds.rows import FileError
from congrad.files.opening.remote import is_remote

STANDARD_OUTPUT = 1


def resolved(path: str) -> Path:
    """Where a path leads, through all links.

    :raises FileError: in a circle.
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise FileError(f"{path}: is a symbolic link that leads back to itself")
    return target


def descriptor_of(path: str) -> int | None:
    """The file descriptor of this process that an output is, such as ``-``, ``/dev/stdout`` or ``/proc/self/fd/3``;
    None for any other file.

    Such a path leads on to the file that is open there. To open that anew would be to lose what ``>>`` appends to.
    """
    if path == STANDARD_STREAM:
        return STANDARD_OUTPUT
    own = re.compile(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd")
    link = Path(path)
    for _ in range(40):  # as many links as Linux follows
        if link.name.isdigit() and own.fullmatch(os.path.realpath(link.parent)):
            return int(link.name)
        if not link.is_symlink():
            return None
        link = link.parent / link.readlink()
    return None


def is_special(path: str) -> bool:
    """Whether it is a stream, a pipe, a device or an address, which is written to and never replaced."""
    return is_remote(path) or descriptor_of(path) is not None or (Path(path).exists() and not Path(path).is_file())


def opened(path: str) -> BinaryIO:
    """A special file, opened to be written to."""
    descriptor = descriptor_of(path)
    if descriptor is None:
        return Path(path).open("wb")
    # What was printed before would otherwise come out after.
    sys.stdout.flush()
    # A duplicate, so that closing it leaves the descriptor open for whoever else writes there.
    return os.fdopen(os.dup(descriptor), "wb")
