"""Prompts that would be lost without a word: no row has one, the answers do not begin alike, and a column that is not
read looks like it."""

from collections.abc import Collection, Mapping
from typing import Any

from congrad.formats.row_format import Row

PROMPT_LIKE = (
    "prompt",
    "question",
    "instruction",
    "query",
    "input",
    "inputs",
    "context",
    "user",
    "user_prompt",
    "raw_prompt",
    "full_prompt",
    "user_input",
    "prompt_text",
    "problem",
    "task",
    "request",
    "source",
    "text",
    "post",
    "history",
    "messages",
    "conversation",
    "conversations",
)
"""Names that columns of prompts have."""

SHARED = 12
"""Characters that two answers have to begin with alike to have an implicit prompt: a few they share by chance."""


class PromptWatch:
    """Looks at samples and the rows that they are made of.

    :param used: columns that are read.
    """

    def __init__(self, used: Collection[str]):
        self._used = set(used)
        self._rows = 0
        self._shared = 0
        self._has_prompt = False
        self._unread: dict[str, None] = {}

    def add(self, row: Row, sample: Mapping[str, Any]) -> None:
        """Takes a row and what was read of it."""
        if self._has_prompt:
            return
        self._has_prompt = sample.get("prompt") not in (None, "", [])
        self._rows += 1
        self._shared += begin_alike(sample.get("chosen"), sample.get("rejected"))
        self._unread.update(dict.fromkeys(name for name in PROMPT_LIKE if name not in self._used and row.get(name)))

    @property
    def fault(self) -> str | None:
        """What is wrong, once all rows have been seen; None where nothing is."""
        if self._has_prompt or not self._unread or 2 * self._shared >= self._rows:
            return None
        name = next(iter(self._unread))
        return (
            "no row has a prompt, chosen and rejected do not begin alike, and there is a column "
            f"{name!r} that is not read: give --field prompt={name} if it is the prompt, or --field prompt=COLUMN "
            f'(in Python, fields={{"prompt": "{name}"}})'
        )


def is_blank(prompt: Any) -> bool:
    """Whether a prompt is missing or says nothing, but for what a system turn says before it."""
    if not isinstance(prompt, list):
        return prompt is None or (isinstance(prompt, str) and not prompt.strip())
    spoken = [turn for turn in prompt if not (isinstance(turn, Mapping) and turn.get("role") == "system")]
    return not prompt or (bool(spoken) and all(map(_is_silent, spoken)))


def _is_silent(turn: Any) -> bool:
    if not isinstance(turn, Mapping):
        return False
    content = turn.get("content")
    return not (content.strip() if isinstance(content, str) else content) and not turn.get("tool_calls")


def begin_alike(chosen: Any, rejected: Any) -> bool:
    """Whether two answers have an implicit prompt, as far as their beginnings tell."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        return len(chosen) >= SHARED and chosen[:SHARED] == rejected[:SHARED]
    is_talk = isinstance(chosen, list) and isinstance(rejected, list) and bool(chosen) and bool(rejected)
    return is_talk and bool(chosen[0] == rejected[0])
