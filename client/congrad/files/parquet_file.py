"""Parquet, through pyarrow, which `congrad[parquet]` brings. It is imported when it is needed: that takes longer than
everything else together, and most files are JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from congrad.files.rows import FileError, Row

if TYPE_CHECKING:
    import pyarrow

ROWS = 4_096
"""Read and written at a time."""

DECISION = "congrad"
"""The column that says why a row was dropped."""


def require_pyarrow() -> None:
    """:raises FileError: it is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise FileError("Parquet needs pyarrow; install it with: pip install 'congrad[parquet]'") from None


def schema(stream: BinaryIO, name: str) -> pyarrow.Schema:
    """The columns with their types, and what other programs have noted beside them.

    :raises FileError: it is not Parquet.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_schema(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise FileError(f"{name}: is not Parquet: {error}") from error


def read(stream: BinaryIO, name: str) -> Iterator[Row]:
    """The rows. A column has a value in every row, if only a null, and so has every key of a message: a null is read as
    what it stands for, a value that is missing.

    :raises FileError: it cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=ROWS):
            for position, content in enumerate(batch.to_pylist()):
                number += 1
                yield Row(f"row {number}", without_nulls(content), batch.slice(position, 1))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise FileError(f"{name}: cannot be read after row {number}: {error}") from error


def without_nulls(value: Any) -> Any:
    """The value without keys that hold null, at any depth."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


class ParquetCopier:
    """Writes rows that come from Parquet, in their own schema.

    :param with_decision: whether there is a column `congrad` besides, in the place of an earlier one.
    """

    def __init__(self, stream: BinaryIO, schema: pyarrow.Schema, with_decision: bool):
        from pyarrow import parquet

        self._own = schema
        self._with_decision = with_decision
        self._rows: list[pyarrow.RecordBatch] = []
        self._decisions: list[Any] = []
        self._writer = parquet.ParquetWriter(stream, self._table().schema)

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Writes a row with its decision, if that is wanted."""
        self._rows.append(row.source)
        self._decisions.append(extra.get(DECISION))
        if len(self._rows) == ROWS:
            self._flush()

    def finish(self) -> None:
        """Writes what is buffered, and the end of the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table())
        self._rows, self._decisions = [], []

    def _table(self) -> pyarrow.Table:
        import pyarrow

        table = pyarrow.Table.from_batches(self._rows, schema=self._own)
        if not self._with_decision:
            return table
        if DECISION in table.column_names:
            table = table.drop_columns([DECISION])
        table = table.append_column(DECISION, pyarrow.array(self._decisions, type=_decision_type()))
        # `datasets` notes its features beside the schema, and reads no file with a column that they do not have.
        return table.replace_schema_metadata(None)


class ParquetBuilder:
    """Writes rows that come from another format; types are those that the values have.

    :param with_decision: whether the column `congrad` is the decision.
    """

    def __init__(self, stream: BinaryIO, columns: Sequence[str], with_decision: bool, name: str):
        self._stream = stream
        self._columns = columns
        self._with_decision = with_decision
        self._name = name
        self._rows: list[dict[str, Any]] = []

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Takes a row with further columns."""
        self._rows.append(row.content | extra)

    def finish(self) -> None:
        """Writes all of them: only now the types are known.

        :raises FileError: the values of a column have no type in common.
        """
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table({column: self._array(column) for column in self._columns})
        try:
            parquet.write_table(table, self._stream)
        except pyarrow.ArrowException as error:
            raise FileError(f"{self._name}: cannot be written as Parquet: {error}") from error

    def _array(self, column: str) -> pyarrow.Array:
        import pyarrow

        values = [row.get(column) for row in self._rows]
        is_decision = self._with_decision and column == DECISION
        try:
            return pyarrow.array(values, type=_decision_type() if is_decision else None)
        except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise FileError(f"{self._name}: the values of {column!r} are no column of Parquet: {error}") from error


def _decision_type() -> pyarrow.DataType:
    import pyarrow

    return pyarrow.struct(
        [
            ("conflict_score", pyarrow.float64()),
            ("conflicts_with", pyarrow.list_(pyarrow.string())),
            ("truncated", pyarrow.bool_()),
            ("reason", pyarrow.string()),
        ]
    )
