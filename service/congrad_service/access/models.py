"""What may be loaded because somebody asks for it: ``CONGRAD_MODELS``, which the operator sets and nobody else.

Asked of the service, which answers, and again of a worker, which has the files: what is a link on its machine, or above
a folder that is allowed, shows only there.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


class NotAllowedError(ValueError):
    """The operator has not allowed it."""


class Allowed:
    """The folders and names of a setting; nothing is allowed where it is None."""

    def __init__(self, setting: str | None):
        entries = [entry.strip() for entry in (setting or "").split(",") if entry.strip()]
        self._roots = [Path(entry).resolve() for entry in entries if entry.startswith("/")]
        self._names = [entry for entry in entries if not entry.startswith("/")]

    def check(self, source: str) -> None:
        """
        :param source: a folder from the root on, or a name on the hub.
        :raises NotAllowedError: it is none of those that may be loaded.
        :raises ValueError: it is neither.
        """
        if not source.startswith("/") and not HUB_NAME.fullmatch(source):
            raise ValueError(f"{source!r} is neither a folder from the root on, nor a name on the Hugging Face hub")
        if not self._roots and not self._names:
            raise NotAllowedError("nothing may be published here: the operator has not set CONGRAD_MODELS")
        if not (self._has(Path(source)) if source.startswith("/") else self._names_it(source)):
            raise NotAllowedError(f"{source!r} is not among what the operator allows with CONGRAD_MODELS")

    def check_files(self, folder: Path, patterns: Iterable[str] = ()) -> None:
        """
        :param folder: one that may be loaded.
        :param patterns: of what is read of it further down.
        :raises NotAllowedError: something in it is a link to where nothing may be.
        """
        for path in chain(folder.iterdir(), *map(folder.glob, patterns)):
            if not self._has(path):
                name = path.relative_to(folder).as_posix()
                raise NotAllowedError(f"{name!r} is a link out of what the operator allows with CONGRAD_MODELS")

    def _has(self, path: Path) -> bool:
        try:
            real = path.resolve()  # without `..` and links
        except (OSError, RuntimeError):  # links in a circle, which lead to no file
            return False
        return any(real.is_relative_to(root) for root in self._roots)

    def _names_it(self, name: str) -> bool:
        return any(fnmatchcase(name, entry) for entry in self._names)
