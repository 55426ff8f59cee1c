"""Which column says the language, where nobody has said which."""

from collections.abc import Sequence

from congrad.contract.tags.languages import normalise_language
from congrad.formats.paths import value_at
from congrad.formats.row_format import Row

LANGUAGE = "language"

LANGUAGE_FIELDS = (
    LANGUAGE,
    "lang",
    "locale",
    "lang_code",
    "language_code",
    "assigned_lang",
    "language_tag",
    "lang_id",
    "language_id",
    "lang_tag",
    "language_name",
    "iso_code",
)
"""Usual names, the most usual first."""

FOLDERS = ("metadata", "meta")
"""Where such a column may lie further down."""


def language_field(rows: Sequence[Row]) -> str | None:
    """The first column of a usual name in which any of the rows names a language."""
    nested = [f"{folder}.{name}" for folder in FOLDERS for name in LANGUAGE_FIELDS]
    for name in (*LANGUAGE_FIELDS, *nested):
        if any(_is_language(value_at(row, name)) for row in rows):
            return name
    return None


def _is_language(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        normalise_language(value)
    except ValueError:
        return False
    return True
