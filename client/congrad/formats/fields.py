"""Where the fields of a sample are in a row: by its format, and by what was said of its columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from congrad.contract.samples import COMPLETIONS
from congrad.contract.samples import FIELDS as ALL_FIELDS
from congrad.formats import registry
from congrad.formats.detection import AUTO, guess_of
from congrad.formats.kinds.trl import TRL, without_nulls
from congrad.formats.language_fields import LANGUAGE
from congrad.formats.lost_prompts import PROMPT_LIKE, begin_alike, is_blank
from congrad.formats.messages import ASSISTANT, SYSTEM, USER, are_turns, is_text_or_turns, is_turn, messages
from congrad.formats.paths import column_of, is_at, value_at
from congrad.formats.row_format import Roles, Row, RowFormat, Sample
from congrad.formats.verdict import Verdict

FIELDS = tuple(name for name in ALL_FIELDS if name != "id")
"""What is taken of a row; whatever else is in it stays there. Rows are numbered: an id in a file can occur twice."""

STRUCTURE = "structure"
"""What a column is read for that may hold messages or lists in one of the formats."""


NESTED = "nested"
"""What a column is read for that a path leads into: whatever is in JSON there."""


class NumberedRow(Protocol):
    """A row of a file."""

    @property
    def id(self) -> str:
        """How messages name it."""

    @property
    def content(self) -> Row:
        """Its values by column."""


@dataclass(frozen=True)
class Fields:
    """Where the fields of a sample are found.

    :param columns: the column of a field, or the path to it (``input.messages``), where the format does not say it.
    :param language: of all rows, instead of a column; ``auto`` finds out that of each.
    :param format: what the rows are.
    :param roles: the role of a chat template, by what it is called in the rows.
    :param verdict: of two answers: what stands for the first and for the second, where it is said.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    language: str | None = None
    format: RowFormat = TRL
    roles: Roles = field(default_factory=dict)
    verdict: Verdict | None = None
    is_guess: bool = False
    """Whether the format was found out: then a row may be of another one."""

    @property
    def by_column(self) -> dict[str, str]:
        """The field that a column is read for."""
        structured = dict.fromkeys([*registry.COLUMNS, *map(column_of, self.columns.values())], STRUCTURE)
        own = {name: name for name in FIELDS if name not in self.columns}
        nested = {column_of(path): NESTED for path in self.columns.values() if column_of(path) != path}
        return structured | own | nested | {path: name for name, path in self.columns.items()}

    @property
    def used(self) -> frozenset[str]:
        """The columns that samples are made of."""
        tops = [name for path in self.columns.values() for name in (path, column_of(path))]
        return frozenset([*self.format.columns, *TRL.columns, LANGUAGE, *tops])

    @property
    def wanted(self) -> frozenset[str]:
        """The columns to read: also those in which a prompt would be lost."""
        return self.used | frozenset(PROMPT_LIKE)

    @property
    def seen(self) -> frozenset[str]:
        """The columns to read to tell the format."""
        return self.wanted | registry.COLUMNS

    def sample(self, row: NumberedRow) -> dict[str, Any]:
        """What the service takes of a row.

        :raises ValueError: the row is not of the format, or does not say what is preferred.
        """
        return {"id": row.id} | self.read(row.content)

    def read(self, row: Row) -> Sample:
        """The fields in a row. A null is a missing value, and a field that was named is the sample's in any case.

        :raises TieError: the row prefers neither answer.
        :raises ValueError: the row is not of the format, or does not say what is preferred.
        """
        try:
            whole = self.renamed(row)
            sample = self.format.read(whole, self.roles)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"is not of the format {self.format.name} ({self.format.shape})") from error
        if (other := self._loses(sample, whole)) is not None:
            own = self.format.name
            of_both = f"no prompt as {own}, as which most rows are read, but one as {other}"
            if not is_blank(sample.get("prompt")):
                of_both = f"another prompt as {other} than as {own}, as which most rows are read"
            raise ValueError(
                f"has {of_both}: filter both kinds of rows apart, or say --format {own} if all are that (in Python, "
                f'format="{own}")'
            )
        sample = agreed(sample | self.named(row)) if self.columns else sample
        language = self.language_of(row)
        if language == AUTO:
            language = guess_of(sample).tag
        return sample if language is None else sample | {LANGUAGE: language}

    def language_of(self, row: Row) -> Any:
        """What is said of the language of a row; ``auto`` where nothing but its text says it."""
        return self.language or value_at(row, self.columns.get(LANGUAGE, LANGUAGE))

    def _loses(self, sample: Sample, row: Row) -> str | None:
        """The format in which a row has a prompt, where it has none as it was read, or another one and is not of the
        format that it was read as."""
        if not self.is_guess or "prompt" in self.columns:
            return None
        own = sample.get("prompt")
        if begin_alike(sample.get("chosen"), sample.get("rejected")) if is_blank(own) else self.format.fits(row):
            return None
        others = (form for form in registry.FORMATS if form.name != self.format.name and form.fits(row))
        found = ((form.name, _sample(form, row, self.roles)) for form in others)
        lost = (name for name, read in found if _has_prompt(read) and _words(read.get("prompt")) != _words(own))
        return next(lost, None)

    def found_in(self, row: Row) -> set[str]:
        """The fields that were named and whose column, or what the path to it leads to, is there."""
        return {name for name, path in self.columns.items() if is_at(row, path)}

    def renamed(self, row: Row) -> Row:
        """The row with the fields that were named, under their own names, in place of others of these names."""
        if not self.columns:
            return row
        others = {name: value for name, value in row.items() if name not in self.columns}
        named = {name: value_at(row, path) for name, path in self.columns.items()}
        return others | {name: value for name, value in named.items() if value is not None}

    def named(self, row: Row) -> Sample:
        """The fields that were named, in the form that samples have."""
        found = {name: value_at(row, path) for name, path in self.columns.items()}
        given = without_nulls({name: value for name, value in found.items() if value is not None})
        return {name: self._plain(value) for name, value in given.items()}

    def _plain(self, value: Any) -> Any:
        """Turns as messages, where they are not yet."""
        is_foreign = are_turns(value) and (self.roles or any("role" not in turn for turn in value))
        return messages(value, self.roles) if is_foreign or is_turn(value) else value


def _sample(form: RowFormat, row: Row, roles: Roles) -> Sample:
    """What a row is in a format; nothing where it cannot be read."""
    try:
        return form.read(row, roles)
    except (LookupError, TypeError, AttributeError, ValueError):
        return {}


def _has_prompt(sample: Sample) -> bool:
    """Also one that both answers begin with, if these are turns: texts may begin alike by chance."""
    chosen = sample.get("chosen")
    is_implicit = are_turns(chosen) and begin_alike(chosen, sample.get("rejected"))
    return is_implicit or not is_blank(sample.get("prompt"))


def _words(prompt: Any) -> Any:
    """What is said in a prompt, whether as a text or in turns, but for a system turn: only some formats have one."""
    if not are_turns(prompt):
        return prompt
    spoken = [turn.get("content") for turn in prompt if turn.get("role") != SYSTEM]
    return spoken[0] if len(spoken) == 1 else spoken


def agreed(sample: Sample) -> Sample:
    """A sample of messages, where some of its fields were texts: those that were named come from anywhere."""
    given = [name for name in ("prompt", *COMPLETIONS) if sample.get(name) is not None]
    if not any(are_turns(sample[name]) for name in given) or not all(map(is_text_or_turns, map(sample.get, given))):
        return sample
    if isinstance(sample.get("prompt"), str) and any(_is_whole(sample.get(name)) for name in COMPLETIONS):
        return sample  # the prompt is a copy of the first turn
    return sample | {name: messages(sample[name], {}, USER if name == "prompt" else ASSISTANT) for name in given}


def _is_whole(answer: Any) -> bool:
    return are_turns(answer) and answer[0].get("role") != ASSISTANT
