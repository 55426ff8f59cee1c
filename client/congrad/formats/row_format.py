"""What a format of rows is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from congrad.formats.verdict import Verdict

Row = Mapping[str, Any]
Roles = Mapping[str, str]
"""The role of a chat template, by what it is called in a file."""

Sample = dict[str, Any]
Reader = Callable[[Row, Roles], Sample]


@dataclass(frozen=True)
class RowFormat:
    """How rows of one tool or kind of data set hold a sample.

    :param name: what ``--format`` calls it.
    :param title: what people call it.
    :param columns: those that a sample can be made of.
    :param shape: the columns that tell it, as a message shows them.
    :param fits: whether a row has these columns, with values of their kind.
    :param read: the fields of a sample in a row, but for its language and id.
        Raises `TieError` where a row prefers neither answer, and ValueError where it does not say what is preferred, or
        is not of the format.
    :param settled: the same format, once rows have been seen that say more about it, or it was said what verdicts mean.
        Raises `VerdictError` where neither says it.
    :param told: what the rows are, said more closely.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    shape: str
    fits: Callable[[Row], bool]
    read: Reader
    settled: "Callable[[RowFormat, Iterable[Row], Verdict | None], RowFormat] | None" = None
    told: Callable[[Sequence[Row]], str] | None = None
