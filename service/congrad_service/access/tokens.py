"""The tokens that the service accepts: ``CONGRAD_API_KEY`` and ``CONGRAD_READ_KEY``, and those of the file
``CONGRAD_API_KEYS_FILE``."""

import hmac
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from congrad.contract.tokens import Role, TokenEntry, digest
from pydantic import ValidationError

from congrad_service.settings import ServiceSettings


class TokensError(ValueError):
    """The file of tokens cannot be used; the message names the file, the table and the field."""


@dataclass(frozen=True)
class Caller:
    """Who a request comes from."""

    name: str
    role: Role
    team: str | None = None


ANYONE = Caller("anyone", Role.ADMIN)
"""The caller of a service that asks for no token."""

API_KEY_CALLER = Caller("CONGRAD_API_KEY", Role.ADMIN)
READ_KEY_CALLER = Caller("CONGRAD_READ_KEY", Role.READ)

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Tokens:
    """Callers by the digests of their tokens; no token at all where there are none.

    :raises TokensError: the file cannot be used.
    """

    def __init__(self, settings: ServiceSettings):
        self._callers: dict[str, Caller] = {}
        for key, caller in ((settings.api_key, API_KEY_CALLER), (settings.read_key, READ_KEY_CALLER)):
            if key is not None:
                self._callers[digest(key.get_secret_value().encode())] = caller
        if settings.api_keys_file is not None:
            for where, entry in _entries(settings.api_keys_file):
                if entry.sha256 in self._callers:
                    raise TokensError(f"{where}: sha256: token {self._callers[entry.sha256].name!r} has the same")
                self._callers[entry.sha256] = Caller(entry.name, entry.role, entry.team)

    def __bool__(self) -> bool:
        return bool(self._callers)

    def caller(self, token: bytes) -> Caller | None:
        """Whose token it is. The time that this takes tells nothing of the tokens that there are."""
        given, found = digest(token), None
        for known, caller in self._callers.items():  # to the last one, whichever it is
            if hmac.compare_digest(known, given):
                found = caller
        return found


def _entries(path: Path) -> Iterator[tuple[str, TokenEntry]]:
    """The entries of a file, each with the name that an error calls it by."""
    tables = _tables(path)
    names: set[str] = set()
    for number, table in enumerate(tables, start=1):
        where = f"{path}: [[token]] {number}"
        entry = _entry(where, table)
        if entry.name in names:
            raise TokensError(f"{where}: name: another token is called {entry.name!r}")
        names.add(entry.name)
        yield where, entry


def _tables(path: Path) -> list[Mapping[str, Any]]:
    try:
        _check_rights(path)
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TokensError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TokensError(f"{path}: is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise TokensError(f"{path}: is not TOML: {error}") from None
    if others := sorted(document.keys() - {"token"}):
        raise TokensError(f"{path}: {others[0]}: is none of this file; it should hold [[token]] tables only")
    tables = document.get("token", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise TokensError(f"{path}: token: should be written as [[token]] tables")
    if not tables:
        raise TokensError(f"{path}: has no [[token]] table")
    return tables


def _check_rights(path: Path) -> None:
    """Whoever may write to the file may let himself in. Reading it lets nobody in: it holds digests.

    :raises TokensError: others than its owner may, and it does not lie on what is mounted for reading only, as a
        container has it; what the bits of a file say there depends on its host.
    """
    mode = path.stat().st_mode
    if mode & OTHERS_WRITE and not os.statvfs(path).f_flag & os.ST_RDONLY:
        bits = stat.S_IMODE(mode)
        raise TokensError(f"{path}: others than its owner may write to it (mode {bits:o}): chmod go-w {path}")


def _entry(where: str, table: Mapping[str, Any]) -> TokenEntry:
    try:
        return TokenEntry.model_validate(table)
    except ValidationError as error:
        fault = error.errors()[0]  # its message, and never its input: that may be a token, pasted into the wrong place
        field = ".".join(map(str, fault["loc"]))
        raise TokensError(f"{where}: {field}: {fault['msg'].removeprefix('Value error, ')}") from None
