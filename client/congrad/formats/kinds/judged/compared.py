"""Two answers and which of them is better: by a label, by a signed preference, or by a score for each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from congrad.formats.kinds.judged.readings import BOOLEAN, STRENGTH, kind_of, reading_of
from congrad.formats.messages import (
    ASSISTANT,
    are_turns,
    is_text_or_turns,
    is_turn,
    messages,
    parsed_turns,
    with_system,
)
from congrad.formats.row_format import Roles, Row, RowFormat, Sample
from congrad.formats.verdict import FROM_ZERO, TieError, Verdict, number_of

Readings = Mapping[str, Verdict]
"""What numbers mean, by the column of the verdict."""

CONVERSATIONS = ("conversation_a", "conversation_b")

ANSWERS = (
    ("response_a", "response_b"),
    ("answer_a", "answer_b"),
    ("completion_a", "completion_b"),
    ("output_a", "output_b"),
    CONVERSATIONS,
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("answer1", "answer2"),
    ("answer_1", "answer_2"),
    ("completion1", "completion2"),
    ("output1", "output2"),
    ("output_1", "output_2"),
    ("response_0", "response_1"),
)
"""Columns that hold the two; the first pair that is there counts."""

PROMPTS = ("prompt", "context", "question", "instruction", "query", "messages", "input", "raw_prompt")

VERDICTS = (
    "winner",
    "label",
    "overall_preference",
    "preference",
    "preferred",
    "better",
    "choice",
    "better_response_id",
    STRENGTH,
)
"""Columns that may say which is better."""

SCORES = (
    ("label_a", "label_b"),
    ("score_a", "score_b"),
    ("rating_a", "rating_b"),
    ("score1", "score2"),
    ("score_1", "score_2"),
    ("rating1", "rating2"),
    ("rating_1", "rating_2"),
)
"""Columns with a score for each answer; the higher is better."""

FIRST = frozenset({"a", "first", "model_a", "left", "response1", "response_1", "answer_a", "response_a", "answer1"})
SECOND = frozenset({"b", "second", "model_b", "right", "response2", "response_2", "answer_b", "response_b", "answer2"})
NEITHER = frozenset(
    {"tie", "tied", "equal", "same", "both", "neither", "none", "tie (bothbad)", "both_bad", "tie_bothbad"}
)


def _columns(row: Row) -> tuple[str, str] | None:
    """The columns of the two answers."""
    return next((pair for pair in ANSWERS if all(is_text_or_turns(row.get(name)) for name in pair)), None)


def unjudged(rows: Iterable[Row]) -> tuple[str, str] | None:
    """The columns of two answers, where rows have them and none says which is better in a way that is known."""
    return next(filter(None, map(_columns, rows)), None)


def _scores(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in SCORES if all(name in row for name in pair)), None)


def _verdict(row: Row) -> str | None:
    """The column that says which is better."""
    found = next((name for name in VERDICTS if row.get(name) is not None), None)
    # Beside scores it says how far apart they are.
    return None if found == STRENGTH and _scores(row) is not None else found


def _fits(row: Row) -> bool:
    return _columns(row) is not None and (_verdict(row) is not None or _scores(row) is not None)


def _read(row: Row, roles: Roles, readings: Readings | None = None, said: Verdict | None = None) -> Sample:
    """
    :param readings: what numbers mean where it is not said.
    :param said: what stands for either answer; nothing else does, and words for a tie are one.
    :raises TieError: neither answer is preferred.
    :raises ValueError: nothing says which is better.
    """
    pair = _columns(row)
    if pair is None:
        raise ValueError("has not two answers, such as response_a and response_b")
    first, second = (parsed_turns(row[name]) if pair == CONVERSATIONS else row[name] for name in pair)
    chosen, rejected = (first, second) if _is_first(row, pair, readings or {}, said) else (second, first)
    prompt = next((row[name] for name in PROMPTS if row.get(name) is not None), None)
    if not any(map(_has_turns, (prompt, first, second))):
        return {name: value for name, value in _named(prompt, chosen, rejected).items() if value is not None}
    sample = {"chosen": messages(chosen, roles), "rejected": messages(rejected, roles)}
    # Whole conversations have the prompt in them; answers of several turns, such as calls of tools, go on after it.
    if prompt is not None and (len(sample["chosen"]) == 1 or sample["chosen"][0]["role"] == ASSISTANT):
        sample["prompt"] = with_system(row.get("system"), messages(prompt, roles, "user"))
    return sample


def _named(prompt: Any, chosen: Any, rejected: Any) -> Sample:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _has_turns(value: Any) -> bool:
    return are_turns(value) or is_turn(value)


def _is_first(row: Row, pair: tuple[str, str], readings: Readings, said: Verdict | None) -> bool:
    """Whether the first answer is the better one."""
    column = _verdict(row)
    if column is None:
        return _is_higher(row)
    value = row[column]
    reading = said or readings.get(column) or FROM_ZERO
    found = _by_word(value, pair) if said is None else None
    found = reading.is_first(value) if found is None else found
    if found is not None:
        return found
    is_scale = said is not None or reading.is_signed
    if str(value).strip().lower() in NEITHER or (is_scale and reading.is_tie(value)):
        raise TieError(f"{column} is {str(value)[:40]!r}, so neither answer is preferred")
    raise ValueError(
        f"{column} is {str(value)[:40]!r}, which does not say which answer is better ({reading.meaning}; --verdict "
        "says otherwise)"
    )


def _by_word(value: Any, pair: tuple[str, str]) -> bool | None:
    """Whether it names the first answer; None where it is no such word."""
    word = str(value).strip().lower()
    # The columns' own names first: what is called response_1 is the second one where the other is response_0.
    if word in pair:
        return word == pair[0]
    return word in FIRST if word in FIRST | SECOND else None


def _is_higher(row: Row) -> bool:
    pair = _scores(row) or ("", "")
    first, second = (number_of(row.get(name)) for name in pair)
    if first is None or second is None:
        raise ValueError("nothing says which of the two answers is better")
    if first == second:
        raise TieError(f"{pair[0]} and {pair[1]} are both {first:g}, so neither answer is preferred")
    return first > second


def _settled(form: RowFormat, rows: Iterable[Row], said: Verdict | None) -> RowFormat:
    """The format with what its verdicts mean, which one row alone does not say.

    :param rows: all that there are; not looked at where it is ``said``.
    :raises VerdictError: they do not say it either.
    """
    readings = {} if said else {column: reading_of(column, *seen) for column, seen in _numbers(rows).items()}
    read = partial(_read, readings=readings, said=said)
    return replace(form, read=read, told=partial(_told, readings=readings, said=said))


def _numbers(rows: Iterable[Row]) -> dict[str, tuple[set[int], set[tuple[str, str]]]]:
    """The numbers of each column of verdicts, and the columns of the answers that they are about."""
    found: dict[str, tuple[set[int], set[tuple[str, str]]]] = {}
    for row in rows:
        column, pair = _verdict(row), _columns(row)
        number = None if column is None else number_of(row[column])
        if column is not None and pair is not None and number is not None:
            numbers, pairs = found.setdefault(column, (set(), set()))
            numbers.add(BOOLEAN if isinstance(row[column], bool) else kind_of(number))
            pairs.add(pair)
    return found


def _told(rows: Sequence[Row], readings: Readings | None = None, said: Verdict | None = None) -> str:
    row = next(row for row in rows if _fits(row))
    pair, column = _columns(row) or ("", ""), _verdict(row)
    answers = f"two answers, {pair[0]} and {pair[1]}, the better one by"
    if column is None:
        return f"{answers} {' and '.join(_scores(row) or ())}"
    if said is not None:
        return f"{answers} {column} ({said.meaning})"
    # Words speak for themselves.
    reading = (readings or {}).get(column)
    return f"{answers} {column}" + (f" ({reading.meaning}; --verdict says otherwise)" if reading else "")


COMPARED = RowFormat(
    name="compared",
    title="two answers with a verdict",
    columns=tuple(
        dict.fromkeys(
            [
                *PROMPTS,
                "system",
                *VERDICTS,
                *(name for pair in (*ANSWERS, *SCORES) for name in pair),
            ]
        )
    ),
    shape="response_a, response_b and label or winner; response1, response2 and overall_preference",
    fits=_fits,
    read=_read,
    settled=_settled,
    told=_told,
)
