"""Rows of a file that are no samples, ties among them: all of them are found before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from congrad.contract import wire
from congrad.files.kinds.rows import FileError

NAMED = 20
"""Of the rows that are at fault, so many are named; who reads a message learns no more from the rest."""

UNDETERMINED = "und"
"""BCP 47's tag for a language that is not known."""


class NoSampleError(ValueError):
    """A row is no sample; the message says why, without the row's name."""


class BadRowsError(FileError):
    """Rows of a file are no samples.

    :param are_all: whether no other row is left.
    """

    def __init__(self, message: str, are_all: bool = False):
        super().__init__(message)
        self.are_all = are_all


@dataclass(frozen=True)
class BadRow:
    """A row that is no sample. ``id`` is how messages name it, ``reason`` what is wrong with it. Nothing is with one
    that ``is_tie``: it prefers neither of its answers, and is left out in any case."""

    id: str
    reason: str
    language: str = UNDETERMINED
    is_tie: bool = False

    @property
    def decision(self) -> wire.Decision:
        """What becomes of it where the others are gone on with."""
        return wire.Decision(
            id=self.id,
            language=self.language,
            keep=False,
            conflict_score=None,
            conflicts_with=[],
            truncated=False,
            reason=wire.Reason.TIE if self.is_tie else wire.Reason.BAD_ROW,
        )


@dataclass
class BadRows:
    """Those of one file, by their positions: all where they are to be dropped, else as many as are named, and all ties,
    which are not in the ``total``."""

    are_dropped: bool = False
    total: int = 0
    ties: int = 0
    found: dict[int, BadRow] = field(default_factory=dict)

    def add(self, position: int, row: BadRow) -> None:
        """Takes one more."""
        self.ties += row.is_tie
        self.total += not row.is_tie
        if row.is_tie or self.are_dropped or self.total <= NAMED:
            self.found[position] = row

    def is_tie(self, position: int) -> bool:
        """Whether the row at this position prefers neither of its answers."""
        return position in self.found and self.found[position].is_tie

    def error(self, name: str, hint: str, are_all: bool) -> BadRowsError:
        """What says all that is wrong with the file of this name.

        :param hint: what is missing in all rows, to stand at the end.
        :param are_all: whether the file has no other row.
        """
        rows = [row for row in self.found.values() if not row.is_tie][:NAMED]
        if self.total == 1:
            return BadRowsError(f"{name}, {rows[0].id}: {rows[0].reason}{hint}", are_all)
        lines = [f"{name}: {self.total} rows are no samples{hint}", *(f"  {row.id}: {row.reason}" for row in rows)]
        left = self.total - len(rows)
        return BadRowsError("\n".join([*lines, f"  and {left} more"] if left else lines), are_all)

    def among(self, decisions: Sequence[wire.Decision]) -> list[wire.Decision]:
        """The decisions on all rows.

        :param decisions: those on the samples.
        """
        if not self.found:
            return list(decisions)
        left = iter(decisions)
        count = len(decisions) + len(self.found)
        return [self.found[i].decision if i in self.found else next(left) for i in range(count)]
