"""Parquet, through pyarrow, which `congrad-filter[parquet]` brings. It is imported when it is needed: that takes
longer than everything else together, and most files are JSON Lines."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from congrad.files.kinds.rows import FileError, Row, repeated
from congrad.formats.kinds.trl import without_nulls

if TYPE_CHECKING:
    import pyarrow

ROWS = 4_096
"""Written at a time."""

BATCH = 1_024
"""Rows that are read at a time."""

BUFFER = 2**18
"""Bytes of a column that are read at a time."""

DECISION = "congrad"
"""The column that says why a row was dropped."""

NO_COLUMN = (ValueError, TypeError, OverflowError, NotImplementedError, RecursionError)
"""What pyarrow raises for what it has no form for, its own errors, which are among these, included."""


def require_pyarrow() -> None:
    """:raises FileError: it is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise FileError("Parquet needs pyarrow; install it with: pip install 'congrad-filter[parquet]'") from None


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


def read(stream: BinaryIO, name: str, columns: Collection[str] | None = None) -> Iterator[Row]:
    """The rows. A column has a value in every row, if only a null, and so has every key of a message: a null is read as
    what it stands for, a value that is missing, but in what TRL gives to chat templates with its nulls.

    :param columns: those whose values are wanted; default: all. Others are copied, whether or not Python has a form for
        their values, such as a time in the year 30,000.
    :raises FileError: it cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        # Through a buffer, and nothing of the groups of rows to come: else whole columns are read, and the whole file.
        file = parquet.ParquetFile(stream, buffer_size=BUFFER, pre_buffer=False)
        for batch in file.iter_batches(batch_size=BATCH):
            wanted = [i for i, column in enumerate(batch.schema.names) if columns is None or column in columns]
            if twice := repeated([batch.schema.names[i] for i in wanted]):
                raise FileError(f"{name}: has two columns {', '.join(map(repr, twice))}")
            for position, content in enumerate(batch.select(wanted).to_pylist()):
                number += 1
                yield Row(f"row {number}", without_nulls(content), batch.slice(position, 1))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise FileError(f"{name}: cannot be read after row {number}: {error}") from error


class _Writer:
    """Rows on their way into a file: a table at a time, as each table becomes a group of rows with an index of its own.

    :param table: makes a table of some rows.
    """

    def __init__(self, stream: BinaryIO, schema: pyarrow.Schema, table: Callable[[list[Any]], pyarrow.Table]):
        from pyarrow import parquet

        self._table = table
        self._rows: list[Any] = []
        self._file = parquet.ParquetWriter(stream, schema)

    def add(self, row: Any) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._table(self._rows))
        self._rows = []


class ParquetCopier:
    """Writes rows that come from Parquet, in their own schema.

    :param with_decision: whether there is a column `congrad` besides, in the place of an earlier one.
    """

    def __init__(self, stream: BinaryIO, schema: pyarrow.Schema, with_decision: bool):

        self._own = schema
        self._with_decision = with_decision
        self._writer = _Writer(stream, self._table([]).schema, self._table)

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Writes a row with its decision, if that is wanted."""
        self._writer.add((row.source, extra.get(DECISION)))

    def finish(self) -> None:
        """Writes what is buffered, and the end of the file."""
        self._writer.finish()

    def _table(self, rows: list[tuple[pyarrow.RecordBatch, Any]]) -> pyarrow.Table:
        import pyarrow

        table = pyarrow.Table.from_batches([batch for batch, _ in rows], schema=self._own)
        if not self._with_decision:
            return table
        if DECISION in table.column_names:
            table = table.drop_columns([DECISION])
        table = table.append_column(DECISION, pyarrow.array([decision for _, decision in rows], type=_decision_type()))
        # `datasets` notes its features beside the schema, and reads no file with a column that they do not have.
        return table.replace_schema_metadata(None)


class Types:
    """The types of Parquet that the values of rows from another format have in common."""

    def __init__(self, name: str):
        self._name = name
        self._rows: list[dict[str, Any]] = []
        self._found: dict[str, pyarrow.DataType] = {}

    def add(self, content: dict[str, Any]) -> None:
        """Takes a row.

        :raises FileError: the values of a column have no type in common.
        """
        self._rows.append(content)
        if len(self._rows) == ROWS:
            self._take()

    def schema(self, columns: Collection[str], more: Self | None = None) -> pyarrow.Schema:
        """The columns with these types.

        :param more: other rows of the same file, that are written beside these.
        :raises FileError: Parquet has no such type, or takes no such name, or the others are of other types.
        """
        import pyarrow
        from pyarrow import parquet

        types = self._with(more)
        for column in columns:
            try:
                own = pyarrow.schema([(column, types.get(column, pyarrow.null()))])
                parquet.ParquetWriter(io.BytesIO(), own).close()
            except NO_COLUMN as error:
                raise self._fault(column, error) from error
        return pyarrow.schema([(column, types.get(column, pyarrow.null())) for column in columns])

    def _with(self, more: Self | None) -> dict[str, pyarrow.DataType]:
        self._take()
        types = dict(self._found)
        for column, kind in ({} if more is None else more._with(None)).items():
            types[column] = self._common(column, types.get(column, kind), kind)
        return types

    def _take(self) -> None:
        for column in dict.fromkeys(column for row in self._rows for column in row):
            self._widen(column, [row.get(column) for row in self._rows])
        self._rows = []

    def _widen(self, column: str, values: list[Any]) -> None:
        import pyarrow

        try:
            new = pyarrow.array(values).type
        except (pyarrow.ArrowException, *NO_COLUMN) as error:
            raise self._fault(column, error) from error
        self._found[column] = self._common(column, self._found.get(column, new), new)

    def _common(self, column: str, *types: pyarrow.DataType) -> pyarrow.DataType:
        """The type that has the values of all of them."""
        import pyarrow

        try:
            schemas = [pyarrow.schema([("", kind)]) for kind in types]
            return pyarrow.unify_schemas(schemas, promote_options="permissive").types[0]
        except (pyarrow.ArrowException, *NO_COLUMN) as error:
            raise self._fault(column, error) from error

    def _fault(self, column: str, error: Exception) -> FileError:
        return FileError(f"{self._name}: the values of {column!r} are no column of Parquet: {error}")


class ParquetBuilder:
    """Writes rows that come from another format.

    :param schema: of the columns, from `Types`.
    :param with_decision: whether there is a column `congrad` besides, in the place of an earlier one.
    """

    def __init__(self, stream: BinaryIO, schema: pyarrow.Schema, with_decision: bool):
        import pyarrow

        if with_decision:
            others = [field for field in schema if field.name != DECISION]
            schema = pyarrow.schema([*others, (DECISION, _decision_type())])
        self._writer = _Writer(stream, schema, partial(pyarrow.Table.from_pylist, schema=schema))

    def write(self, row: Row, extra: dict[str, Any]) -> None:
        """Takes a row with further columns.

        :raises ValueError, TypeError, OverflowError: a value is not of its column's type.
        """
        self._writer.add(row.content | extra)

    def finish(self) -> None:
        """Writes what is buffered, and the end of the file."""
        self._writer.finish()


def _decision_type() -> pyarrow.DataType:
    import pyarrow

    return pyarrow.struct(
        [
            ("conflict_score", pyarrow.float64()),
            ("conflicts_with", pyarrow.list_(pyarrow.string())),
            ("truncated", pyarrow.bool_()),
            ("repeated", pyarrow.bool_()),
            ("length_ratio", pyarrow.float64()),
            ("reason", pyarrow.string()),
            ("detail", pyarrow.string()),
        ]
    )
