"""A prompt and a list of answers, each an object with its rank or its score: as in Nectar, NeMo-RL, UltraFeedback and
H4's Stack Exchange."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from congrad.formats.kinds.judged.generations import best_and_worst, listed
from congrad.formats.kinds.transcripts import is_transcript
from congrad.formats.messages import USER, are_turns, is_text_or_turns, messages, with_system
from congrad.formats.row_format import Roles, Row, RowFormat, Sample
from congrad.formats.verdict import number_of

PROMPTS = ("prompt", "instruction", "question", "messages")
CONTEXT = "context"
"""Where NeMo-RL has its prompts, in turns; a text of this name is what a question is about."""
LISTS = ("answers", "completions")
TEXTS = ("answer", "completion", "response", "text")
"""What an object calls its answer."""

RANK = "rank"
"""The lowest is the best in all data sets that have it, whether they count from 0 or from 1."""
RATINGS = (RANK, "overall_score", "fine-grained_score", "pm_score", "score", "rating")
"""What may say how good an answer is; but for ranks, the highest is the best. UltraFeedback has two scores: the first
is that of Zephyr's pairs."""


def _prompt(row: Row) -> Any:
    turns = row.get(CONTEXT)
    found = (row[name] for name in PROMPTS if row.get(name) is not None)
    return next(found, turns if are_turns(turns) else None)


def _answers(row: Row) -> list[Any]:
    return next(filter(None, (listed(row.get(name)) for name in LISTS)), [])


def _text(answer: Mapping[str, Any]) -> Any:
    return next((answer[name] for name in TEXTS if answer.get(name) is not None), None)


def _is_rated(answer: Any) -> bool:
    has_text = isinstance(answer, Mapping) and any(name in answer for name in TEXTS)
    return has_text and any(name in answer for name in RATINGS)


def _rated_by(answers: list[Any]) -> str:
    """What at least two answers of a row have, as a pair takes; the first of all ratings where they have none."""
    counts = {name: sum(number_of(answer.get(name)) is not None for answer in answers) for name in RATINGS}
    return next((name for name, count in counts.items() if count > 1), RANK)


def _fits(row: Row) -> bool:
    answers = _answers(row)
    return is_text_or_turns(_prompt(row)) and bool(answers) and all(map(_is_rated, answers))


def _read(row: Row, roles: Roles) -> Sample:
    """The best answer and the worst one.

    :raises TieError: all are as good.
    :raises ValueError: fewer than two have a rank or a score, or there is no prompt.
    """
    answers, prompt = _answers(row), _prompt(row)
    if prompt is None:
        raise ValueError(f"has no prompt: {', '.join((*PROMPTS, CONTEXT))} are null or missing")
    by = _rated_by(answers)
    numbers = [number_of(answer.get(by)) for answer in answers]
    ratings = [math.nan if number is None else number for number in numbers]
    best, worst = best_and_worst([_text(answer) for answer in answers], ratings, is_rank=by == RANK)
    if is_transcript(prompt):  # it has turns of its own, which no template should be put around
        return {"prompt": prompt, "chosen": best, "rejected": worst}
    return {
        "prompt": with_system(row.get("system"), messages(prompt, roles, USER)),
        "chosen": messages(best, roles),
        "rejected": messages(worst, roles),
    }


def _told(rows: Sequence[Row]) -> str:
    by = _rated_by(_answers(next(row for row in rows if _fits(row))))
    best = "lowest" if by == RANK else "highest"
    return f"answers in a list, the best against the worst by {by}, whose {best} is best"


RANKED = RowFormat(
    name="ranked",
    title="answers in a list with a rank or a score each, the best against the worst",
    columns=(*PROMPTS, CONTEXT, *LISTS, "system"),
    shape="prompt or context, answers or completions of objects with a rank or a score",
    fits=_fits,
    read=_read,
    told=_told,
)
