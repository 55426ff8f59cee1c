"""Finding out whether rows can be written in other formats, before anything is done with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from congrad.files.formats import Format
from congrad.files.kinds.parquet_file import Types
from congrad.files.kinds.rows import FileError, Row
from congrad.files.kinds.values import NO_FORM, encode

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Form:
    """What is written to one output. ``with_decision`` says whether each row comes with a further column."""

    format: Format
    with_decision: bool = False

    def copies(self, source: Format) -> bool:
        """Whether rows that come from ``source`` leave as they came, without a look at their values."""
        return self.format is source and not (self.with_decision and source in (Format.JSONL, Format.JSON))


class Trial:
    """Looks at all rows of a file that is to be written in some forms.

    :param source: the format of the file.
    """

    def __init__(self, name: str, source: Format, forms: Iterable[Form]):
        self._name = name
        converted = [form for form in forms if not form.copies(source)]
        texts = {form for form in converted if form.format is not Format.PARQUET}
        self._texts = sorted({form.format for form in texts})
        self._texts_of_bad = sorted({form.format for form in texts if form.with_decision})
        self._types = Types(name) if len(texts) < len(converted) else None
        of_dropped = Form(Format.PARQUET, with_decision=True) in converted
        self._types_of_bad = Types(name) if of_dropped else None

    @property
    def is_needed(self) -> bool:
        """Whether any value is looked at."""
        return bool(self._texts) or self._types is not None

    def add(self, row: Row, is_sample: bool = True) -> None:
        """:param is_sample: what is none is written to what has decisions only.
        :raises FileError: it cannot be written.
        """
        texts = self._texts if is_sample else self._texts_of_bad
        if texts:
            try:
                encode(row.content)
            except NO_FORM as error:
                fault = f"cannot be written as {', '.join(texts)}: {_column_of_fault(row)}{error}"
                raise FileError(f"{self._name}, {row.id}: {fault}") from error
        types = self._types if is_sample else self._types_of_bad
        if types is not None:
            types.add(row.content)

    def schema(self, columns: Collection[str]) -> pyarrow.Schema | None:
        """The types that all values of samples have in common; None where no Parquet is built of them.

        :param columns: those of samples.
        :raises FileError: there are none, or none that Parquet has.
        """
        return None if self._types is None else self._types.schema(columns)

    def schema_of_dropped(self, columns: Collection[str]) -> pyarrow.Schema | None:
        """The same of all rows, for what has decisions.

        :param columns: those of all rows.
        :raises FileError: the values of rows that are no samples have none in common with the others.
        """
        if self._types is None or self._types_of_bad is None:
            return None
        try:
            return self._types.schema(columns, self._types_of_bad)
        except FileError as error:
            raise FileError(
                f"{error}; DROPPED would have rows that are no samples too: JSON Lines takes them"
            ) from error


def _column_of_fault(row: Row) -> str:
    """Names the column whose value has no form in JSON, as the start of what is wrong with it."""
    for column, value in row.content.items():
        try:
            encode(value)
        except NO_FORM:
            return f"{column}: "
    return ""
