"""Rows as samples: which column is which field, and whether the service would take them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from congrad.contract.samples import CONVERSATION, IMAGE_COLUMNS, model_of, without_others
from congrad.contract.samples import FIELDS as ALL_FIELDS
from congrad.files.kinds.rows import FileError, Row
from congrad.files.source import Source
from congrad.files.trial import Trial

if TYPE_CHECKING:
    import pyarrow

FIELDS = tuple(name for name in ALL_FIELDS if name != "id")
"""What is taken of a row; whatever else stands in it stays here. Rows are numbered: an id in a file can occur twice."""


@dataclass(frozen=True)
class Fields:
    """Where the fields of a sample are found.

    :param columns: the column of a field, where it has another name.
    :param language: of all rows, instead of a column.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    language: str | None = None

    @property
    def by_column(self) -> dict[str, str]:
        """The field that a column is read for."""
        return {self.columns.get(name, name): name for name in FIELDS}

    @property
    def wanted(self) -> frozenset[str]:
        """The columns that samples are made of."""
        return frozenset([*self.by_column, *IMAGE_COLUMNS, CONVERSATION])

    def sample(self, row: Row) -> dict[str, Any]:
        """What the service takes of a row. Images are taken too, so that they are refused; where there are none, the
        column is null, or holds an empty list, which TRL takes for a sample of text as well. So is a conversation where
        there is nothing else, unless a field is made of it. A column that was named is the sample's in any case."""
        found = {name: self.columns.get(name, name) for name in FIELDS}
        sample = {name: row.content[column] for name, column in found.items() if column in row.content}
        refused = (*IMAGE_COLUMNS, CONVERSATION)
        others = {name: row.content[name] for name in refused if row.content.get(name) not in (None, [])}
        named = {name: sample[name] for name in self.columns if name in sample}
        language = {} if self.language is None else {"language": self.language}
        return {"id": row.id} | without_others(sample | others) | named | language


@dataclass
class Survey:
    """What a file holds: rows by language, the columns that occur, in order, and the size of the samples as JSON.

    ``schema`` has the columns with their types, where Parquet is to be built of them.
    """

    languages: Counter[str] = field(default_factory=Counter)
    columns: dict[str, None] = field(default_factory=dict)
    bytes: int = 0
    schema: "pyarrow.Schema | None" = None

    @property
    def rows(self) -> int:
        """How many."""
        return self.languages.total()


def survey(source: Source, fields: Fields, trial: Trial | None = None) -> Survey:
    """Reads a file once, to its end.

    :param trial: is shown all rows.
    :raises FileError: a row is no sample; the message names row and field. Or there is no row at all, or no column of a
        name that was given. Or rows cannot be written as they are to be.
    """
    is_tried = trial is not None and trial.is_needed
    found = Survey(columns=dict.fromkeys(source.header()))
    # A name that is not there is told before all rows are read, where a header says so.
    if found.columns:
        _check_columns(source, fields, found)
    for row in source.rows(None if is_tried else fields.wanted):
        found.columns.update(dict.fromkeys(row.content))
        sample = fields.sample(row)
        found.languages[language_of(source, fields, found, sample)] += 1
        found.bytes += len(json.dumps(sample, ensure_ascii=False).encode())
        if trial is not None:
            trial.add(row)
    if not found.rows:
        raise FileError(f"{source.name}: holds no rows")
    _check_columns(source, fields, found)
    if trial is not None:
        found.schema = trial.schema(found.columns)
    return found


def read_samples(path: Path) -> list[dict[str, Any]]:
    """All samples of a file, with the fields that the service takes.

    :raises FileError: the file cannot be read, or a row is no sample.
    """
    fields = Fields()
    with Source(str(path), fields=fields.by_column) as source:
        survey(source, fields)
        return [fields.sample(row) for row in source.rows()]


def _check_columns(source: Source, fields: Fields, found: Survey) -> None:
    for name, column in fields.columns.items():
        if column not in found.columns:
            raise FileError(f"{source.name}: there is no column {column!r} for {name}; {_columns(found)}")


def _columns(found: Survey) -> str:
    return f"the columns are {', '.join(found.columns)}" if found.columns else "there are no columns"


def language_of(source: Source, fields: Fields, found: Survey, sample: Mapping[str, Any]) -> str:
    """The language of a sample, which is checked.

    :raises FileError: it is no sample; the message names row and field.
    """
    try:
        return model_of(sample).model_validate(sample).language
    except ValidationError as error:
        fault = error.errors()[0]
    name = str(fault["loc"][0]) if fault["loc"] else ""
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing" and len(fault["loc"]) == 1:
        wanted = [name, "completion"] if name == "chosen" and "rejected" not in sample else [name]
        columns = " or ".join(repr(fields.columns.get(name, name)) for name in wanted)
        message += f" (column {columns}); {_columns(found)}"
    where = ".".join(str(part) for part in fault["loc"] if part not in ("text", "messages", "blocks"))
    raise FileError(f"{source.name}, {sample['id']}: {f'{where}: ' if where else ''}{message}")
