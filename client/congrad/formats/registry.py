"""All formats, and which of them some rows are of."""

from collections import Counter
from collections.abc import Iterable, Sequence

from congrad.contract.samples import COMPLETIONS, CONVERSATION, NOT_SPLIT
from congrad.formats.kinds.axolotl import AXOLOTL, QUESTION
from congrad.formats.kinds.judged.arena import ARENA
from congrad.formats.kinds.judged.compared import COMPARED, VERDICTS, unjudged
from congrad.formats.kinds.judged.documented import DOCUMENTED
from congrad.formats.kinds.judged.generations import GENERATIONS
from congrad.formats.kinds.judged.ranked import RANKED
from congrad.formats.kinds.kto import KTO
from congrad.formats.kinds.llama_factory import ALPACA, SHAREGPT
from congrad.formats.kinds.ms_swift import MS_SWIFT
from congrad.formats.kinds.openai import OPENAI
from congrad.formats.kinds.openrlhf import OPENRLHF
from congrad.formats.kinds.transcripts import HH
from congrad.formats.kinds.trl import TRL
from congrad.formats.language_fields import LANGUAGE_FIELDS
from congrad.formats.lost_prompts import PROMPT_LIKE
from congrad.formats.no_pairs import no_pair
from congrad.formats.row_format import Row, RowFormat
from congrad.formats.verdict import Verdict, VerdictError

AUTO = "auto"

FORMATS = (
    OPENAI,
    MS_SWIFT,
    SHAREGPT,
    AXOLOTL,
    ALPACA,
    QUESTION,
    HH,
    KTO,
    TRL,
    COMPARED,
    GENERATIONS,
    ARENA,
    RANKED,
    *DOCUMENTED,
    OPENRLHF,
)
"""Where a row is of two, it is of the first. A new format has its place before those whose columns it has too."""

COLUMNS = frozenset([*(column for form in FORMATS for column in form.columns), *PROMPT_LIKE, *LANGUAGE_FIELDS, "id"])
"""All that is looked at to tell a format."""

ROWS = 100
"""As many are looked at: a file's first."""

NEAREST = 3


class UnknownFormatError(ValueError):
    """Rows are of no format that is known; the message says which fields they have, and which formats are near."""


def named(name: str) -> RowFormat:
    """The format that is called so.

    :raises ValueError: none is.
    """
    for form in FORMATS:
        if form.name == name:
            return form
    raise ValueError(f"there is no format {name!r}; there are {', '.join([AUTO, *(form.name for form in FORMATS)])}")


def recognise(rows: Sequence[Row]) -> RowFormat:
    """The format that most of the rows are of.

    :raises UnknownFormatError: none of them is of any.
    """
    # Each row counts once: most are TRL's too, and one that is nothing else would decide for all of them.
    counts = Counter(form for row in rows if (form := next((form for form in FORMATS if form.fits(row)), None)))
    if not counts:
        raise UnknownFormatError(unknown(rows))
    return max(FORMATS, key=counts.__getitem__)


def settled(form: RowFormat, rows: Iterable[Row], said: Verdict | None = None) -> RowFormat:
    """A format, once rows have been seen.

    :param said: what their verdicts mean.
    :raises VerdictError: that cannot be told, or they have none.
    """
    if form.settled is not None:
        return form.settled(form, rows, said)
    if said is not None:
        raise VerdictError(f"--verdict is about two answers with a verdict, and the rows are {form.title}")
    return form


def description(form: RowFormat, rows: Sequence[Row]) -> str:
    """What the rows are, in words."""
    return form.title if form.told is None or not any(map(form.fits, rows)) else form.told(rows)


def unknown(rows: Sequence[Row]) -> str:
    """What to say of rows that are of no format."""
    fields = list(dict.fromkeys(name for row in rows for name in row))
    if CONVERSATION in fields and not set(COMPLETIONS) & set(fields):
        return NOT_SPLIT
    pair = unjudged(rows)
    if pair is not None:  # to name one of them as chosen would swap the pairs in which the other is better
        return (
            f"its rows have two answers, {pair[0]} and {pair[1]}, and no column that is known to say which is better; "
            f"the fields are {', '.join(fields)}. Such a column is called {', '.join(VERDICTS)}, or the answers have a "
            "score each, such as score_a and score_b: rename the one that says it"
        )
    told = no_pair(fields)
    if told is not None:
        return f"{told}. The fields are {', '.join(fields)}"
    # A data set with columns of its own is what it is, or is not: to be like it helps nobody.
    general = (form for form in FORMATS if form not in (ARENA, *DOCUMENTED))
    near = sorted(general, key=lambda form: -_likeness(form, fields))[:NEAREST]
    shapes = "".join(f"\n  {form.name}: {form.shape}" for form in near)
    seen = f"the fields are {', '.join(fields)}" if fields else "there are no fields"
    return (
        f"its rows are of no format that is known; {seen}. Say with --field which is which, such as --field "
        f'chosen=COLUMN (in Python, fields={{"chosen": "COLUMN"}}). The nearest formats:{shapes}'
    )


def _likeness(form: RowFormat, fields: Sequence[str]) -> float:
    """The share of a format's telling columns that are there, in whole or in part."""
    telling = [name for name in form.columns if name in form.shape]
    seen = [field.casefold() for field in fields]  # a spreadsheet's are often capitalised
    return sum(any(name in field or field in name for field in seen) for name in telling) / (len(telling) or 1)
