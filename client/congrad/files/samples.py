"""Rows as samples: which column is which field, and whether the service would take them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from congrad.contract.prompts import missing_prompt
from congrad.contract.samples import COMPLETIONS, LABEL, PAIR, Sample, model_of
from congrad.contract.tags.languages import normalise_language
from congrad.contract.validation.faults import message_of, path_in
from congrad.files.bad_rows import UNDETERMINED, BadRow, BadRows, NoSampleError
from congrad.files.kinds.rows import UNREADABLE, FileError, Row
from congrad.files.source import Source
from congrad.files.trial import Trial
from congrad.formats.detection import AUTO, guess_of
from congrad.formats.fields import Fields as Fields
from congrad.formats.kinds.trl import TRL
from congrad.formats.lost_prompts import PromptWatch, is_blank
from congrad.formats.paths import column_of
from congrad.formats.verdict import TieError

if TYPE_CHECKING:
    import pyarrow

FEW = 2
"""Rows of a language that are so few that they may be in it by mistake."""

DIGEST = 32
"""Characters: half of SHA-256, which no two rows share by chance."""

OF_LANGUAGES = (
    "; --language-field names the column with the languages, --language de says that of all rows, and --language auto "
    "detects that of each"
)


@dataclass
class Survey:
    """What a file holds: rows by language, the columns that occur, in order, and the size of the samples as JSON.

    ``samples`` has the name of each sample, and a digest of what is sent of it. ``schema`` has their columns with their
    types, where Parquet is to be built of them. ``bad`` are the rows that are no samples, which are not among the rest,
    but for ``columns``: they can be dropped, and ``schema_of_dropped`` has the types of all rows.
    """

    languages: Counter[str] = field(default_factory=Counter)
    columns: dict[str, None] = field(default_factory=dict)
    bytes: int = 0
    samples: list[tuple[str, str]] = field(default_factory=list)
    with_digests: bool = True
    columns_of_samples: dict[str, None] = field(default_factory=dict)
    schema: "pyarrow.Schema | None" = None
    schema_of_dropped: "pyarrow.Schema | None" = None
    bad: BadRows = field(default_factory=BadRows)
    firsts: dict[str, list[str]] = field(default_factory=dict)
    """The first rows of each language."""
    sureness: dict[str, float] = field(default_factory=dict)
    """Where languages are detected: the sum of how sure their rows are."""
    unreadable: int = 0
    """Rows that could not be read."""
    empty_prompts: int = 0
    """Samples whose prompt is there, and has no text."""
    completions: int = 0
    """Samples of one completion."""
    labelled: int = 0
    """Those of them with a label."""
    first_plain: str | None = None
    """The first one without."""
    named: set[str] = field(default_factory=set)
    """Fields that were named and that any row has."""

    @property
    def rows(self) -> int:
        """How many samples."""
        return self.languages.total()


def survey(
    source: Source,
    fields: Fields,
    trial: Trial | None = None,
    *,
    drop_bad: bool = False,
    with_digests: bool = True,
    count: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Reads a file once, to its end.

    :param trial: is shown all rows.
    :param drop_bad: whether rows that are no samples are only noted.
    :param with_digests: whether ``samples`` is filled: it grows with the file.
    :param count: is told how many rows have been read, after each.
    :raises BadRowsError: rows are no samples; the message names them, and what is wrong with each.
    :raises FileError: there is no row at all, or no column of a name that was given. Or rows cannot be written as they
        are to be.
    """
    is_tried = trial is not None and trial.is_needed
    found = Survey(columns=dict.fromkeys(source.header()), bad=BadRows(drop_bad), with_digests=with_digests)
    found.columns_of_samples = dict(found.columns)
    # A name that is not there is told before all rows are read, where a header says so.
    if found.columns:
        _check_columns(source, fields, found)
    watch = PromptWatch(fields.used)
    for position, row in enumerate(source.all_rows(None if is_tried else fields.wanted)):
        is_sample = _take(position, row, fields, found, watch)
        found.unreadable += row.fault is not None
        is_written = is_sample or drop_bad or found.bad.is_tie(position)
        if is_written or row.fault is None:
            found.columns.update(dict.fromkeys(row.content))
        if is_sample:
            found.columns_of_samples.update(dict.fromkeys(row.content))
        if trial is not None and is_written:
            trial.add(row, is_sample)
        count(position + 1)
    if not found.rows and not found.bad.total:
        raise FileError(f"{source.name}: holds no rows{' but ties' * bool(found.bad.ties)}")
    _check_columns(source, fields, found)
    if found.bad.total and not (drop_bad and found.rows):
        raise found.bad.error(source.name, _hint(fields, found), are_all=not found.rows)
    _check_paths(source, fields, found)
    if watch.fault is not None:
        raise FileError(f"{source.name}: {watch.fault}")
    if trial is not None:
        found.schema = trial.schema(found.columns_of_samples)
        found.schema_of_dropped = trial.schema_of_dropped(found.columns)
    return found


def _take(position: int, row: Row, fields: Fields, found: Survey, watch: PromptWatch) -> bool:
    """Counts a row; whether it is a sample."""
    try:
        if row.fault is not None:
            raise NoSampleError(row.fault)
        sample = sample_of(row, fields)
        language = language_of(sample)
    except NoSampleError as error:
        is_tie = isinstance(error.__cause__, TieError)
        found.bad.add(position, BadRow(row.id, str(error), _known(row, fields), is_tie))
        return False
    watch.add(row.content, sample)
    if len(found.named) < len(fields.columns):
        found.named |= fields.found_in(row.content)
    found.languages[language] += 1
    firsts = found.firsts.setdefault(language, [])
    firsts += [row.id] if len(firsts) < FEW else []
    found.empty_prompts += "prompt" in sample and is_blank(sample["prompt"])
    if "completion" in sample:
        is_labelled = sample.get(LABEL) is not None
        found.completions += 1
        found.labelled += is_labelled
        found.first_plain = found.first_plain or (None if is_labelled else row.id)
    if fields.language == AUTO:
        found.sureness[language] = found.sureness.get(language, 0.0) + guess_of(sample).confidence
    text = json.dumps(sample | {"id": ""}, ensure_ascii=False, sort_keys=True).encode()
    found.bytes += len(text) + len(row.id)
    if found.with_digests:
        found.samples.append((row.id, hashlib.sha256(text).hexdigest()[:DIGEST]))
    return True


def sample_of(row: Row, fields: Fields) -> dict[str, Any]:
    """What the service takes of a row.

    :raises NoSampleError: the row is not of the format, or does not say what is preferred.
    """
    try:
        return fields.sample(row)
    except ValueError as error:
        raise NoSampleError(str(error)) from error


def _known(row: Row, fields: Fields) -> str:
    """The language of a row that is no sample, as far as it says."""
    try:
        return normalise_language(fields.language_of(row.content))
    except (ValueError, TypeError, AttributeError):
        return UNDETERMINED


def read_samples(path: Path) -> list[dict[str, Any]]:
    """All samples of a file, with the fields that the service takes.

    :raises FileError: the file cannot be read, or a row is no sample.
    """
    fields = Fields()
    with Source(str(path), fields=fields.by_column) as source:
        survey(source, fields)
        return [fields.sample(row) for row in source.rows()]


def _check_columns(source: Source, fields: Fields, found: Survey) -> None:
    for name, path in fields.columns.items():
        if path not in found.columns and column_of(path) not in found.columns:
            raise FileError(f"{source.name}: there is no column {path!r} for {name}; {_columns(found)}")


def _check_paths(source: Source, fields: Fields, found: Survey) -> None:
    """:raises FileError: a path leads nowhere in all rows: what it was named for would be lost in silence."""
    for name, path in fields.columns.items():
        if name not in found.named and path not in found.columns:
            raise FileError(f"{source.name}: no row has anything at {path!r} for {name}; {_columns(found)}")


def _hint(fields: Fields, found: Survey) -> str:
    """The columns that no row has and every sample needs."""
    if not _named(found) and found.unreadable == found.bad.total:  # of rows that could not be read nothing is missing
        return ""
    missing = []
    if fields.language is None and not _has(fields, found, "language"):
        missing.append("language")
    if fields.format is TRL and not _has(fields, found, "completion"):
        missing += [name for name in PAIR if not _has(fields, found, name)]
    if not missing:
        return ""
    columns = ", ".join(repr(fields.columns.get(name, name)) for name in missing)
    said = f"; there is no column {columns}; {_columns(found)}"
    return said + (OF_LANGUAGES if "language" in missing else "")


def _has(fields: Fields, found: Survey, name: str) -> bool:
    return fields.columns.get(name, name) in found.columns


def _columns(found: Survey) -> str:
    return f"the columns are {', '.join(names)}" if (names := _named(found)) else "there are no columns"


def _named(found: Survey) -> list[str]:
    """The columns of the file itself. Of what cannot be read, and is dropped, the text stands in one of ours."""
    return [name for name in found.columns if name != UNREADABLE]


def language_of(sample: Mapping[str, Any]) -> str:
    """The language of a sample, which is checked.

    :raises NoSampleError: it is none; the message names the field.
    """
    # An empty cell of a CSV file is a missing value: so that a row is the same in every format, no text is one too.
    if empty := [name for name in COMPLETIONS if sample.get(name) in ("", [])]:
        raise NoSampleError(f"{empty[0]}: is empty")
    try:
        checked = model_of(sample).model_validate(sample)
    except ValidationError as error:
        fault = error.errors()[0]
    else:
        # The service leaves this to a worker, which would end the run in the middle of the file.
        if isinstance(checked, Sample) and (missing := missing_prompt(checked)):
            raise NoSampleError(missing)
        return checked.language
    loc = fault["loc"]
    if fault["type"] == "missing" and loc == ("chosen",) and "rejected" not in sample:
        loc = ("chosen (or completion)",)
    where = ".".join(str(part) for part in path_in(sample, loc))
    raise NoSampleError(f"{where}: {message_of(fault)}" if where else message_of(fault))
