"""Axolotl's preference formats: conversations with two last turns, and questions with a system prompt."""

from typing import Any

from congrad.formats.messages import USER, are_turns, is_text_or_turns, is_turn, messages, parsed_turn, with_system
from congrad.formats.row_format import Roles, Row, RowFormat, Sample

QUESTIONS = ("question", "input", "instruction")
"""Where its strategies look for a prompt."""

ANSWERS = {"chosen": ("chosen", "chosen_response"), "rejected": ("rejected", "rejected_response")}


def _fits_turns(row: Row) -> bool:
    turns = row.get("messages")
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if row.get("prompt") is not None or not (are_turns(turns) or isinstance(turns, str)):
        return False
    # In the data sets of TRL's users, messages are another copy of chosen.
    return is_text_or_turns(chosen) and is_text_or_turns(rejected) and not _is_whole(chosen)


def _is_whole(answer: Any) -> bool:
    return are_turns(answer) and len(answer) > 1 and messages(answer[:1], {})[0]["role"] != "assistant"


def _read_turns(row: Row, roles: Roles) -> Sample:
    given = {name: parsed_turn(row[name]) for name in ANSWERS if row.get(name) is not None}
    answers = {name: messages(answer, roles)[-1:] for name, answer in given.items()}
    return {"prompt": messages(row["messages"], roles, USER), **answers}


AXOLOTL = RowFormat(
    name="axolotl",
    title="Axolotl's chat_template format",
    columns=("messages", "chosen", "rejected"),
    shape="messages and one turn each in chosen and rejected",
    fits=_fits_turns,
    read=_read_turns,
)


def _fits_question(row: Row) -> bool:
    if row.get("prompt") is not None or not any(isinstance(row.get(name), str) for name in QUESTIONS):
        return False
    answers = [_answer(row, name) for name in ANSWERS]
    return all(map(_is_answer, answers)) and not _is_repeated(row, answers)


def _answer(row: Row, name: str) -> Any:
    return next((row[column] for column in ANSWERS[name] if row.get(column) is not None), None)


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) or is_turn(value) or (are_turns(value) and not _is_whole(value))


def _is_repeated(row: Row, answers: list[Any]) -> bool:
    """Whether both answers have the question before them: then it is their implicit prompt."""
    question = _question(row).strip()
    return all(
        isinstance(answer, str) and question and question in answer[: 2 * len(question) + 100] for answer in answers
    )


def _question(row: Row) -> str:
    return next((row[name] for name in QUESTIONS if isinstance(row.get(name), str)), "")


def _read_question(row: Row, roles: Roles) -> Sample:
    prompt = row["prompt"] if isinstance(row.get("prompt"), str) else _question(row)
    answers = {name: messages(answer, roles) for name in ANSWERS if (answer := _answer(row, name)) is not None}
    system = next((row[name] for name in ("system", "system_prompt") if row.get(name)), None)
    return {"prompt": with_system(system, messages(prompt, roles, USER)), **answers}


QUESTION = RowFormat(
    name="question",
    title="Axolotl's question format",
    columns=(
        "system",
        "system_prompt",
        "prompt",
        *QUESTIONS,
        *(column for columns in ANSWERS.values() for column in columns),
    ),
    shape="question or input, system, chosen, rejected",
    fits=_fits_question,
    read=_read_question,
)
