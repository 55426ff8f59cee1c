"""A row of a file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from congrad.errors import CongradError


class FileError(CongradError):
    """A file cannot be read or written, or a row of it is no sample."""


UNREADABLE = "unreadable"
"""The column of what a row that cannot be read has in place of its own."""


def repeated(columns: Sequence[str]) -> list[str]:
    """The names that more than one column has: which of them is meant, nobody can tell."""
    return sorted(name for name, count in Counter(columns).items() if count > 1)


@dataclass(frozen=True)
class Row:
    """One row.

    :param id: how messages name it, `line 3` or `row 3`; unlike an id in the file it cannot occur twice.
    :param content: its values by column. A value that is missing has no key.
    :param source: the row as its format has it: what is written where it leaves in the same format.
    :param fault: why it cannot be read, where the rows after it can.
    """

    id: str
    content: dict[str, Any]
    source: Any
    fault: str | None = None
