"""Options that say which column of a file is which field."""

from collections.abc import Sequence
from typing import Annotated

import typer

from congrad.files.samples import FIELDS, Fields

COLUMNS = "Columns"

FieldColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=COLUMN",
        rich_help_panel=COLUMNS,
        help=f"The column that a field is in, such as chosen=response_a; repeat it. Fields: {', '.join(FIELDS)}.",
    ),
]


def fields_of(given: Sequence[str] | None, language_field: str | None, language: str | None) -> Fields:
    """Where the fields of a sample are, as options say it.

    :raises typer.BadParameter: an option is not of its form, or a field is given twice.
    """
    columns: dict[str, str] = {}
    for item in [*(given or []), *([f"language={language_field}"] if language_field is not None else [])]:
        name, equals, column = item.partition("=")
        if not equals or name not in FIELDS:
            raise typer.BadParameter(f"--field {item}: should be NAME=COLUMN, with NAME one of {', '.join(FIELDS)}")
        if name in columns:
            raise typer.BadParameter(f"the column of {name} is given twice: {columns[name]!r} and {column!r}")
        columns[name] = column
    if language is not None and "language" in columns:
        raise typer.BadParameter("--language is for files without a column of languages: give it or --language-field")
    return Fields(columns, language)
