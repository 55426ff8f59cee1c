"""Rows of a file that are no samples, ties among them: all of them are found before anything is sent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from congrad.contract import wire
from congrad.files.kinds.rows import FileError

NAMED = 20
"""Faults that are told, each with its first rows; who reads a message learns no more from the rest."""

FIRST = 5
"""Rows that are named of those with one fault."""

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
    """Those of one file, by their positions: all where they are to be dropped, and all ties, which are not in the
    ``total``."""

    are_dropped: bool = False
    total: int = 0
    ties: int = 0
    found: dict[int, BadRow] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    """What is wrong, in the order in which it was found, and the first rows of each."""
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, position: int, row: BadRow) -> None:
        """Takes one more."""
        self.ties += row.is_tie
        self.total += not row.is_tie
        if row.is_tie or self.are_dropped:
            self.found[position] = row
        if not row.is_tie and (row.reason in self.faults or len(self.faults) < NAMED):
            self.counts[row.reason] += 1
            rows = self.faults.setdefault(row.reason, [])
            rows += [row.id] if len(rows) < FIRST else []

    def is_tie(self, position: int) -> bool:
        """Whether the row at this position prefers neither of its answers."""
        return position in self.found and self.found[position].is_tie

    def error(self, name: str, hint: str, are_all: bool) -> BadRowsError:
        """What says all that is wrong with the file of this name.

        :param hint: what is missing in all rows, to stand at the end.
        :param are_all: whether the file has no other row.
        """
        if self.total == 1:
            ((reason, (row,)),) = self.faults.items()
            return BadRowsError(f"{name}, {row}: {reason}{hint}", are_all)
        told = (f"  {self._rows_of(reason)}: {reason}" for reason in self.faults)
        lines = [f"{name}: {self.total} rows are no samples{hint}", *told]
        left = self.total - self.counts.total()
        return BadRowsError("\n".join([*lines, f"  and {left} more"] if left else lines), are_all)

    def _rows_of(self, reason: str) -> str:
        rows, left = self.faults[reason], self.counts[reason] - len(self.faults[reason])
        return f"{', '.join(rows)} and {left} more" if left else ", ".join(rows)

    def among(self, decisions: Sequence[wire.Decision]) -> list[wire.Decision]:
        """The decisions on all rows.

        :param decisions: those on the samples.
        """
        if not self.found:
            return list(decisions)
        left = iter(decisions)
        count = len(decisions) + len(self.found)
        return [self.found[i].decision if i in self.found else next(left) for i in range(count)]
