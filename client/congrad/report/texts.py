"""The texts of a sample as a reader sees them: plain text, or the turns of a conversation."""

import json
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

LIMIT = 4_000
"""Characters of one text or turn that are shown: a report is read, and opened, by people."""

Turns = str | list[list[str]]
"""Text, or the turns of a conversation as [speaker, text]."""

REASONING = ("reasoning_content", "thinking", "reasoning")


def texts_of(sample: Mapping[str, Any]) -> list[Turns | None]:
    """Prompt, chosen and rejected; for a sample of supervised fine-tuning prompt and completion.

    Where conversations come without a prompt, it is the turns that both begin with.
    """
    if sample.get("completion") is not None:
        return [_shown(sample.get("prompt")), _shown(sample["completion"])]
    prompt, chosen, rejected = (sample.get(name) for name in ("prompt", "chosen", "rejected"))
    if prompt is None and isinstance(chosen, list) and isinstance(rejected, list):
        shared = len(list(takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))))
        prompt, chosen, rejected = chosen[:shared] or None, chosen[shared:], rejected[shared:]
    return [_shown(prompt), _shown(chosen), _shown(rejected)]


def _shown(value: Any) -> Turns | None:
    if value is None or isinstance(value, str):
        return value if value is None else _cut(value)
    return [turn for message in value for turn in _turns(message)]


def _turns(message: Mapping[str, Any]) -> list[list[str]]:
    role = str(message.get("role", ""))
    thoughts = [[f"{role}, thinking", _cut(str(message[name]))] for name in REASONING if message.get(name)]
    content = message.get("content")
    calls = message.get("tool_calls")
    return [
        *thoughts,
        *([[role, _cut(_content(content))]] if content is not None else []),
        *([[f"{role}, calling", _cut(json.dumps(calls, ensure_ascii=False))]] if calls else []),
    ]


def _content(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def _cut(text: str) -> str:
    return text if len(text) <= LIMIT else f"{text[:LIMIT]} … ({len(text) - LIMIT:,} more characters)"
