"""Two answers and which of them is better: by a label, by a signed preference, or by a score for each."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from congrad.formats.messages import are_turns, is_text_or_turns, is_turn, messages, with_system
from congrad.formats.row_format import Roles, Row, RowFormat, Sample

ANSWERS = (
    ("response_a", "response_b"),
    ("answer_a", "answer_b"),
    ("completion_a", "completion_b"),
    ("output_a", "output_b"),
    ("conversation_a", "conversation_b"),
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

PROMPTS = ("prompt", "context", "question", "instruction", "query", "messages", "input")

VERDICTS = (
    "winner",
    "label",
    "overall_preference",
    "preference",
    "preferred",
    "better",
    "choice",
    "better_response_id",
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

SIGNED = "below zero the first is better, above zero the second"
FROM_ONE = "1 is the first answer, 2 the second"
FROM_ZERO = "0 is the first answer, 1 the second"
SIGNED_COLUMNS = ("overall_preference", "preference")


def _columns(row: Row) -> tuple[str, str] | None:
    """The columns of the two answers."""
    return next((pair for pair in ANSWERS if all(is_text_or_turns(row.get(name)) for name in pair)), None)


def _scores(row: Row) -> tuple[str, str] | None:
    return next((pair for pair in SCORES if all(name in row for name in pair)), None)


def _verdict(row: Row) -> str | None:
    """The column that says which is better."""
    return next((name for name in VERDICTS if row.get(name) is not None), None)


def _fits(row: Row) -> bool:
    return _columns(row) is not None and (_verdict(row) is not None or _scores(row) is not None)


def _read(row: Row, roles: Roles, numbers: str = FROM_ZERO) -> Sample:
    """:raises ValueError: nothing says which is better, or it says neither."""
    pair = _columns(row)
    if pair is None:
        raise ValueError("has not two answers, such as response_a and response_b")
    first, second = (row[name] for name in pair)
    chosen, rejected = (first, second) if _is_first(row, pair, numbers) else (second, first)
    prompt = next((row[name] for name in PROMPTS if row.get(name) is not None), None)
    if not any(map(_has_turns, (prompt, first, second))):
        return {name: value for name, value in _named(prompt, chosen, rejected).items() if value is not None}
    sample = {"chosen": messages(chosen, roles), "rejected": messages(rejected, roles)}
    if prompt is not None and len(sample["chosen"]) == 1:
        sample["prompt"] = with_system(row.get("system"), messages(prompt, roles, "user"))
    return sample


def _named(prompt: Any, chosen: Any, rejected: Any) -> Sample:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _has_turns(value: Any) -> bool:
    return are_turns(value) or is_turn(value)


def _is_first(row: Row, pair: tuple[str, str], numbers: str) -> bool:
    """Whether the first answer is the better one."""
    verdict = _verdict(row)
    if verdict is None:
        return _is_higher(row)
    value = row[verdict]
    word = str(value).strip().lower()
    if word in FIRST or value == pair[0]:
        return True
    if word in SECOND or value == pair[1]:
        return False
    if word in NEITHER:
        raise ValueError(f"{verdict} is {word!r}, so neither answer is preferred")
    return _is_first_by_number(verdict, value, SIGNED if verdict in SIGNED_COLUMNS else numbers)


def _is_first_by_number(verdict: str, value: Any, numbers: str) -> bool:
    number = _number(value)
    if numbers == SIGNED and number == 0:
        raise ValueError(f"{verdict} is 0, so neither answer is preferred")
    if numbers == SIGNED and number is not None:
        return number < 0
    allowed = (1, 2) if numbers == FROM_ONE else (0, 1)
    if number not in allowed:
        raise ValueError(f"{verdict} is {str(value)[:40]!r}, which does not say which answer is better ({numbers})")
    return number == allowed[0]


def _is_higher(row: Row) -> bool:
    pair = _scores(row) or ("", "")
    first, second = (_number(row.get(name)) for name in pair)
    if first is None or second is None:
        raise ValueError("nothing says which of the two answers is better")
    if first == second:
        raise ValueError(f"{pair[0]} and {pair[1]} are both {first:g}, so neither answer is preferred")
    return first > second


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _settled(form: RowFormat, rows: Sequence[Row]) -> RowFormat:
    """The format with what the numbers of its verdicts mean, which one row alone does not say."""
    return replace(form, read=partial(_read, numbers=_meaning(_numbers(rows))))


def _numbers(rows: Iterable[Row]) -> set[float]:
    found = (_number(row[verdict]) for row in rows if (verdict := _verdict(row)) not in (None, *SIGNED_COLUMNS))
    return {number for number in found if number is not None}


def _meaning(numbers: set[float]) -> str:
    if any(number < 0 for number in numbers):
        return SIGNED
    return FROM_ONE if 2 in numbers else FROM_ZERO


def _told(rows: Sequence[Row]) -> str:
    row = next(row for row in rows if _fits(row))
    pair, verdict = _columns(row) or ("", ""), _verdict(row)
    if verdict is None:
        return f"two answers, {pair[0]} and {pair[1]}, the better one by {' and '.join(_scores(row) or ())}"
    numbers = _numbers(rows)
    meaning = SIGNED if verdict in SIGNED_COLUMNS else _meaning(numbers) if numbers else ""
    return f"two answers, {pair[0]} and {pair[1]}, the better one by {verdict}{f' ({meaning})' if meaning else ''}"


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
