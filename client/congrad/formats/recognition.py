"""What rows are, found out from the first of them: their format, and the column of their languages."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from congrad.contract.samples import LABEL, PAIR
from congrad.formats.detection import AUTO as DETECTED
from congrad.formats.fields import Fields
from congrad.formats.kinds.trl import TRL
from congrad.formats.language_fields import LANGUAGE, language_field
from congrad.formats.registry import AUTO, description, named, recognise, settled
from congrad.formats.row_format import Row


@dataclass(frozen=True)
class Recognised:
    """Where the fields of a sample are, and what to say of how that was found out. ``unread_label`` is the part of it
    that whoever hears nothing else should hear."""

    fields: Fields
    told: str
    unread_label: str = ""


def recognised(
    rows: Sequence[Row],
    fields: Fields | None = None,
    name: str = AUTO,
    every: Callable[[Collection[str]], Iterable[Row]] | None = None,
) -> Recognised:
    """Finds out what is not said.

    :param rows: the first ones.
    :param fields: what is said of columns, languages and verdicts.
    :param name: of a format, or ``auto``.
    :param every: reads some columns of all rows, where the first ones are not all: what holds for them is found out of
        all of them, once.
    :raises UnknownFormatError: the rows are of none.
    :raises VerdictError: what their verdicts mean cannot be told.
    :raises ValueError: no format is called so.
    """
    given = fields or Fields()
    renamed = [given.renamed(row) for row in rows]
    form = recognise(renamed) if name == AUTO else named(name)
    seen = renamed if every is None else map(given.renamed, every(replace(given, format=form).used))
    form = settled(form, seen, given.verdict)
    found, of_languages = _language(rows, replace(given, format=form))
    found = replace(found, is_guess=name == AUTO)
    told = f"read as {description(form, renamed)} (--format {form.name}); {of_languages}"
    unread_label = _unread_label(rows, found)
    unread = filter(None, (_unread_system(rows, found), unread_label))
    return Recognised(found, "; ".join([told, *unread]), unread_label)


def _language(rows: Sequence[Row], fields: Fields) -> tuple[Fields, str]:
    """The fields with the column of languages, and what to say of it."""
    if fields.language == DETECTED:
        return fields, "language detected from the text of each row"
    if fields.language is not None:
        return fields, f"language: {fields.language} in all rows"
    if LANGUAGE in fields.columns:
        return fields, f"language from {fields.columns[LANGUAGE]}"
    column = LANGUAGE if any(row.get(LANGUAGE) is not None for row in rows) else language_field(rows)
    if column is None or column == LANGUAGE:
        return fields, "no column of languages" if column is None else f"language from {LANGUAGE}"
    return replace(fields, columns={**fields.columns, LANGUAGE: column}), f"language from {column}"


def _unread_system(rows: Sequence[Row], fields: Fields) -> str:
    """What to say where there are system prompts that the format has no place for."""
    unread = [row for row in rows if isinstance(row.get("system"), str) and row["system"]]
    if "system" in fields.used or not unread:
        return ""
    labelled = any(isinstance(row.get(LABEL), bool) and row.get("completion") is not None for row in unread)
    return f"system is not read: --format {'kto' if labelled else 'question'} makes it the system turn"


def _unread_label(rows: Sequence[Row], fields: Fields) -> str:
    """What to say of completions whose labels are none: without them all would count as wanted."""
    labels = [row.get(LABEL) for row in rows if fields.format is TRL and not all(row.get(name) for name in PAIR)]
    given = [label for label in labels if label is not None]
    is_unread = given and LABEL not in fields.columns and not any(isinstance(label, bool) for label in given)
    return "label is not read, as it is no boolean, true or false" if is_unread else ""
