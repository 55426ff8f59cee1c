"""Turns of conversations, as tools name their keys and roles, as the messages of a chat template."""

import json
from collections.abc import Mapping
from typing import Any

from congrad.contract.samples import Message
from congrad.formats.row_format import Roles

USER, ASSISTANT, SYSTEM, TOOL = "user", "assistant", "system", "tool"

ROLES = {
    **dict.fromkeys(("human", "prompter", "instruction", "customer"), USER),
    **dict.fromkeys(("gpt", "bot", "chatbot", "chatgpt", "model", "ai"), ASSISTANT),
    **dict.fromkeys(("observation", "function_response", "tool_response"), TOOL),
}
"""Names that tools have for the roles of chat templates. A role that is not here stays what it is."""

ROLE_KEYS = ("role", "from", "speaker")
CONTENT_KEYS = ("content", "value", "text")

ROLE_AND_CONTENT, FROM_AND_VALUE = {"role", "content"}, {"from", "value"}
"""The keys of a turn, and of one of ShareGPT's."""

CALL = "function_call"
"""The role of LLaMA-Factory's turns that call a tool; their content is the call in JSON."""


def is_turn(value: Any) -> bool:
    """Whether it looks like a message."""
    return isinstance(value, Mapping) and any(key in value for key in ROLE_KEYS)


def is_bare_turn(value: Mapping[str, Any]) -> bool:
    """Whether it has the two keys of a turn and no others: an answer may be an object of other keys."""
    return value.keys() in (ROLE_AND_CONTENT, FROM_AND_VALUE)


def parsed_turn(answer: Any) -> Any:
    """A turn that is in JSON, as it lies in the cell of a CSV file; anything else as it is. For the formats in which
    an answer is a turn: elsewhere it would be a text."""
    if not isinstance(answer, str) or not answer.lstrip().startswith("{"):
        return answer
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return answer
    return value if isinstance(value, dict) and is_bare_turn(value) else answer


def parsed_turns(conversation: Any) -> Any:
    """Turns that are in JSON, as they lie in a column of texts; anything else as it is.

    :raises ValueError: it is a list of objects in another form, as Python prints one.
    """
    if not isinstance(conversation, str) or not conversation.lstrip().startswith("[{"):
        return conversation
    try:
        turns = json.loads(conversation)
    except (ValueError, RecursionError):
        raise ValueError("a conversation is a list that is no JSON; messages should be written as JSON") from None
    return turns if are_turns(turns) else conversation


def are_turns(value: Any) -> bool:
    """Whether it looks like a list of messages."""
    return isinstance(value, list | tuple) and bool(value) and all(map(is_turn, value))


def is_text_or_turns(value: Any) -> bool:
    """Whether it can be an answer: a text, a message, or a list of them."""
    return isinstance(value, str) or is_turn(value) or are_turns(value)


def message(turn: Any, roles: Roles) -> dict[str, Any]:
    """A turn as a message, with the keys that chat templates read.

    :raises ValueError: it is no turn.
    """
    if not is_turn(turn):
        raise ValueError(f"a turn of a conversation should be an object with a role; it is {str(turn)[:40]!r}")
    role = str(next(turn[key] for key in ROLE_KEYS if key in turn))
    content = next((turn[key] for key in CONTENT_KEYS if turn.get(key) is not None), None)
    if role == CALL and CALL not in roles:
        return {"role": ASSISTANT, "tool_calls": _calls(content)}
    if isinstance(content, list):  # blocks, which have a null for each key that others have, such as image
        content = [_without_nulls(block) for block in content]
    known = {name: turn[name] for name in Message.model_fields if turn.get(name) is not None}
    renamed = roles.get(role) or ROLES.get(role.lower(), role)
    return {**known, "role": renamed, **({} if content is None else {"content": content})}


def _without_nulls(block: Any) -> Any:
    return {key: value for key, value in block.items() if value is not None} if isinstance(block, Mapping) else block


def messages(turns: Any, roles: Roles, speaker: str = ASSISTANT) -> list[dict[str, Any]]:
    """Turns as messages; a single turn is a list of one, and a text what ``speaker`` says.

    :raises ValueError: they are none of it.
    """
    if isinstance(turns, str):
        return [{"role": speaker, "content": turns}]
    if not isinstance(turns, list | tuple):
        turns = [turns]
    return [message(turn, roles) for turn in turns]


def exchanges(history: Any) -> list[list[Any]]:
    """Earlier questions, each with its answer; a list in JSON is one too, as it lies in the cell of a CSV file.

    :raises ValueError: they are something else.
    """
    if not history:
        return []
    try:
        turns = json.loads(history) if isinstance(history, str) else history
    except (ValueError, RecursionError):
        turns = None
    if not isinstance(turns, list | tuple) or not all(
        isinstance(turn, list | tuple) and len(turn) == 2 for turn in turns
    ):
        raise ValueError(f"history should be a list of [question, answer]; it is {str(history)[:40]!r}")
    return [list(turn) for turn in turns]


def with_system(system: Any, prompt: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The prompt behind a system turn, where there is a text for one and the prompt has none."""
    if not isinstance(system, str) or not system or (prompt and prompt[0]["role"] == SYSTEM):
        return prompt
    return [{"role": SYSTEM, "content": system}, *prompt]


def _calls(content: Any) -> list[Any]:
    try:
        calls = json.loads(content) if isinstance(content, str) else content
    except ValueError:
        raise ValueError(f"a turn of {CALL} should hold the call in JSON; it is {content[:40]!r}") from None
    calls = calls if isinstance(calls, list) else [calls]
    return [call if "function" in call else {"type": "function", "function": call} for call in calls]
