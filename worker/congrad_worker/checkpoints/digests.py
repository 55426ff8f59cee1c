"""The contents of a checkpoint's files, each of which is read for that once.

A file that is as it was (device, inode, size, time of its last change) has the digest that it had. This process keeps
them, and those of large files are kept beside the models of the Hugging Face cache: the parent of a worker looks at
them before the child does, and so has the worker that was there before this one.
"""

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from huggingface_hub.constants import HF_HOME

KEPT = Path(HF_HOME) / "congrad" / "digests.json"

LARGE = 2**20
"""Bytes from which on it is worth while to keep a digest on the disk."""

MOST = 4096
"""Digests that are kept there."""

SETTLED_S = 2.0
"""A file that was changed later than this before it was read may change again and look the same: clocks of file systems
tick."""

_known: dict[str, str] = {}


@dataclass(frozen=True)
class Contents:
    """The files of a folder that were read: their names, digests and stamps, sorted by name."""

    folder: Path
    files: tuple[tuple[str, str, str], ...]

    @property
    def lines(self) -> str:
        """What a fingerprint is made of."""
        return "".join(f"{name}={digest}\n" for name, digest, _ in self.files) + "--\n"

    @property
    def changed(self) -> str | None:
        """What became of the first file that is no longer what it was, or of the folder; None where all are."""
        for name, _, stamp in self.files:
            try:
                is_same = _stamp((self.folder / name).stat()) == stamp
            except OSError as error:
                if not self.folder.is_dir():
                    return f"{self.folder} is no longer there"
                return f"{name} can no longer be read ({error.strerror})"
            if not is_same:
                return f"{name} was changed after it was looked at"
        return None


def contents(folder: Path, patterns: Sequence[str]) -> Contents:
    """The files in ``folder`` that match any of ``patterns``.

    :raises OSError: one of them cannot be read, such as a link to nowhere, or is a pipe.
    """
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern) if not path.is_dir())
    return Contents(folder, tuple((path.relative_to(folder).as_posix(), *_digest(path)) for path in paths))


def _digest(path: Path) -> tuple[str, str]:
    """The SHA-256 of a file, and its stamp."""
    # Without waiting: a pipe would keep us until somebody writes to it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "is no file, but a pipe or a device", str(path))
        stamp = _stamp(about)
        is_large = about.st_size >= LARGE
        if stamp not in _known and is_large:
            _known.update(_kept())
        if stamp in _known:
            return _known[stamp], stamp
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _stamp(os.fstat(file.fileno())) == stamp and about.st_mtime < time.time() - SETTLED_S:
            _known[stamp] = digest
            if is_large:
                _keep(stamp, digest)
    return digest, stamp


def _stamp(about: os.stat_result) -> str:
    return f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}"


def _kept() -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(KEPT.read_text(encoding="utf-8"))
        return {str(stamp): str(digest) for stamp, digest in found.items()}
    return {}


def _keep(stamp: str, digest: str) -> None:
    """Where that may be written. Of two processes that do at the same time, one has read its file in vain."""
    with suppress(OSError):
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        others = list(_kept().items())[-MOST + 1 :]
        with NamedTemporaryFile("w", dir=KEPT.parent, delete=False, encoding="utf-8") as new:
            json.dump(dict(others) | {stamp: digest}, new)
        Path(new.name).replace(KEPT)
