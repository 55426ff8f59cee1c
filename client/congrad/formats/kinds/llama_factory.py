"""LLaMA-Factory's preference formats: Alpaca's columns, and ShareGPT's conversations."""

from typing import Any

from congrad.formats.messages import (
    SYSTEM,
    USER,
    are_turns,
    exchanges,
    is_text_or_turns,
    is_turn,
    messages,
    parsed_turn,
    with_system,
)
from congrad.formats.row_format import Roles, Row, RowFormat, Sample

ANSWERS = ("chosen", "rejected")


def _answers(row: Row, roles: Roles) -> Sample:
    return {name: messages(row[name], roles) for name in ANSWERS if row.get(name) is not None}


def _others(row: Row) -> Sample:
    return {name: row[name] for name in ("tools", "images") if row.get(name)}


def _fits_alpaca(row: Row) -> bool:
    has_answers = all(isinstance(row.get(name), str | None) and name in row for name in ("chosen", "rejected"))
    return has_answers and isinstance(row.get("instruction"), str) and row.get("prompt") is None


def _read_alpaca(row: Row, roles: Roles) -> Sample:
    history = [
        turn
        for query, response in exchanges(row.get("history"))
        for turn in (*messages(query, roles, USER), *messages(response, roles))
    ]
    # As LLaMA-Factory joins them.
    query = "\n".join(text for text in (row.get("instruction"), row.get("input")) if text)
    prompt = with_system(row.get("system"), [*history, *messages(query, roles, USER)])
    return {"prompt": prompt, **_answers(row, roles), **_others(row)}


ALPACA = RowFormat(
    name="alpaca",
    title="LLaMA-Factory's Alpaca format",
    columns=("instruction", "input", "history", "system", "chosen", "rejected", "tools", "images"),
    shape="instruction, input, history, chosen, rejected",
    fits=_fits_alpaca,
    read=_read_alpaca,
)


def _fits_sharegpt(row: Row) -> bool:
    if not ("chosen" in row and "rejected" in row):
        return False
    answers = [row[name] for name in ("chosen", "rejected") if row[name] is not None]
    if are_turns(row.get("conversations")):
        return all(map(is_text_or_turns, answers))
    has_no_prompt = all(row.get(name) is None for name in ("prompt", "messages"))
    return has_no_prompt and bool(answers) and all(map(_is_sharegpt, answers))


def _is_sharegpt(answer: Any) -> bool:
    return are_turns(answer) and all("from" in turn for turn in answer)


def _read_sharegpt(row: Row, roles: Roles) -> Sample:
    conversation = row.get("conversations")
    if not conversation:  # the answers are whole conversations, as in TRL's implicit prompts
        return {name: with_system(row.get("system"), turns) for name, turns in _answers(row, roles).items()} | _others(
            row
        )
    row = {**row, **{name: parsed_turn(row.get(name)) for name in ANSWERS}}
    prompt = messages(conversation, roles)
    answers = {name: _last(row[name], turns) for name, turns in _answers(row, roles).items()}
    return {"prompt": with_system(row.get("system"), prompt), **answers, **_others(row)}


def _last(given: Any, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answer itself, where the whole conversation is repeated before it."""
    return turns if is_turn(given) or turns[0]["role"] not in (SYSTEM, USER) else turns[-1:]


SHAREGPT = RowFormat(
    name="sharegpt",
    title="LLaMA-Factory's ShareGPT format",
    columns=("conversations", "chosen", "rejected", "system", "tools", "images"),
    shape="conversations, chosen, rejected, in turns of from and value",
    fits=_fits_sharegpt,
    read=_read_sharegpt,
)
