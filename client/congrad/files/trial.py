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
        converted = {form.format for form in forms if not form.copies(source)}
        self._texts = sorted(converted - {Format.PARQUET})
        self._types = Types(name) if Format.PARQUET in converted else None

    @property
    def is_needed(self) -> bool:
        """Whether any value is looked at."""
        return bool(self._texts) or self._types is not None

    def add(self, row: Row) -> None:
        """:raises FileError: it cannot be written."""
        if self._texts:
            try:
                encode(row.content)
            except NO_FORM as error:
                text = ", ".join(self._texts)
                raise FileError(f"{self._name}, {row.id}: cannot be written as {text}: {error}") from error
        if self._types is not None:
            self._types.add(row.content)

    def schema(self, columns: Collection[str]) -> pyarrow.Schema | None:
        """The types that all values of the columns have in common; None where no Parquet is built of them.

        :raises FileError: there are none, or none that Parquet has.
        """
        return None if self._types is None else self._types.schema(columns)
