"""Options that say which column of a file is which field."""

from collections.abc import Sequence
from typing import Annotated

import typer

from congrad.contract.tags.languages import normalise_language
from congrad.formats.detection import AUTO as DETECTED
from congrad.formats.fields import FIELDS, Fields
from congrad.formats.registry import AUTO, FORMATS, named
from congrad.formats.verdict import Verdict

COLUMNS = "Columns"


def _known(name: str) -> str:
    """:raises typer.BadParameter: there is no such format."""
    if name != AUTO:
        try:
            named(name)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return name


FieldColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=COLUMN",
        rich_help_panel=COLUMNS,
        help="The column that a field is in, such as chosen=response_a, or the path to it, such as "
        f"prompt=input.messages; repeat it. Fields: {', '.join(FIELDS)}.",
    ),
]
RowsAre = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="NAME",
        callback=_known,
        rich_help_panel=COLUMNS,
        help=f"What the rows are; {AUTO} tells by their fields. Formats: {', '.join(form.name for form in FORMATS)}.",
    ),
]
RoleNames = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="ROLE=NAME",
        rich_help_panel=COLUMNS,
        help="What a role is called in the rows, such as user=Kunde; repeat it. Usual names, such as human and gpt, "
        "are known.",
    ),
]


def _verdict(text: str) -> Verdict:
    """:raises typer.BadParameter: it is none."""
    try:
        return Verdict.of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


OfVerdicts = Annotated[
    Verdict | None,
    typer.Option(
        "--verdict",
        metavar="FIRST/SECOND",
        parser=_verdict,
        rich_help_panel=COLUMNS,
        help="Of two answers with a verdict: what stands for the first and for the second, such as 0/1, 1/2, 1/0 or "
        "a/b; -/+ for a sign. Without it the values of all rows tell, or the run stops.",
    ),
]


def fields_of(
    given: Sequence[str] | None,
    language_field: str | None = None,
    language: str | None = None,
    roles: Sequence[str] | None = None,
    verdict: Verdict | None = None,
) -> Fields:
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
    if language is not None and language != DETECTED:
        try:
            normalise_language(language)
        except ValueError as error:
            raise typer.BadParameter(f"--language: {error}") from error
    return Fields(columns, language, roles=dict(map(_role, roles or [])), verdict=verdict)


def _role(given: str) -> tuple[str, str]:
    """What a role is called in the rows, and what it is called by chat templates."""
    role, equals, name = given.partition("=")
    if not equals or not role or not name:
        raise typer.BadParameter(f"--role {given}: should be ROLE=NAME, such as user=Kunde")
    return name, role
