"""Completions that are wanted or not, in other columns than TRL's: conversations with a label, as LLaMA-Factory,
ms-swift and Argilla have them, and Axolotl's questions."""

from typing import Any

from congrad.contract.samples import LABEL
from congrad.formats.kinds.judged.compared import COMPARED
from congrad.formats.kinds.judged.generations import GENERATIONS
from congrad.formats.kinds.judged.ranked import RANKED
from congrad.formats.messages import ASSISTANT, USER, are_turns, exchanges, messages, with_system
from congrad.formats.row_format import Roles, Row, RowFormat, Sample

TAG = "kto_tag"
"""LLaMA-Factory's label."""

CONVERSATIONS = ("messages", "conversations", "completion")
QUESTIONS = ("instruction", "question", "input", "prompt")
ANSWERS = {LABEL: ("completion",), TAG: ("completion", "output", "response")}
"""Where an answer is that is no conversation: beside a label, which other data has too, under Axolotl's name alone."""
OTHERS = ("prompt", "chosen", "rejected", "rejected_response", "rejected_messages")
"""A row with any of them is of another format, or TRL's."""

TEXTS = {"true": True, "false": False}


def _label(row: Row) -> tuple[str, bool] | None:
    """The column that says whether the completion is wanted, and what it says."""
    for name in (TAG, LABEL):
        value = TEXTS.get(row[name].strip().lower()) if isinstance(row.get(name), str) else row.get(name)
        if isinstance(value, bool):
            return name, value
    return None


def _turns(row: Row) -> Any:
    return next((row[name] for name in CONVERSATIONS if are_turns(row.get(name))), None)


def _answer(row: Row, label: str) -> str | None:
    return next((row[name] for name in ANSWERS[label] if isinstance(row.get(name), str)), None)


def _fits(row: Row) -> bool:
    label = _label(row)
    if label is None or any(row.get(name) is not None for name in OTHERS):
        return False
    if any(form.fits(row) for form in (COMPARED, GENERATIONS, RANKED)):  # the label is that of several answers
        return False
    has_question = any(isinstance(row.get(name), str) for name in QUESTIONS)
    return _turns(row) is not None or (has_question and _answer(row, label[0]) is not None)


def _read(row: Row, roles: Roles) -> Sample:
    """
    :raises ValueError: nothing says whether it is wanted, or a conversation does not end with an answer.
    """
    label = _label(row)
    if label is None:
        raise ValueError(f"has no {LABEL} or {TAG} that is true or false")
    turns = messages(_turns(row), roles) if _turns(row) is not None else _exchange(row, label[0], roles)
    if len(turns) < 2 or turns[-1]["role"] != ASSISTANT:
        raise ValueError("its conversation should have a prompt, and end with the answer that is judged")
    prompt = with_system(row.get("system"), turns[:-1])
    others = {name: row[name] for name in ("tools", "images") if row.get(name)}
    return {"prompt": prompt, "completion": turns[-1:], LABEL: label[1], **others}


def _exchange(row: Row, label: str, roles: Roles) -> list[dict[str, Any]]:
    """A question and its answer, behind earlier ones."""
    turns = [*exchanges(row.get("history")), [_question(row), _answer(row, label)]]
    return [turn for asked, answer in turns for turn in (*messages(asked, roles, USER), *messages(answer, roles))]


def _question(row: Row) -> str:
    if row.get("instruction"):  # as LLaMA-Factory joins them
        return "\n".join(text for text in (row["instruction"], row.get("input")) if text)
    return next((row[name] for name in QUESTIONS if row.get(name)), "")


KTO = RowFormat(
    name="kto",
    title="unpaired completions (KTO) in conversations or with a question",
    columns=(*CONVERSATIONS, *QUESTIONS, "output", "response", "history", "system", TAG, LABEL, "tools", "images"),
    shape="messages or conversations, label or kto_tag; question or instruction, completion, label",
    fits=_fits,
    read=_read,
)
