"""Splitting a request into tasks."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from congrad.contract import wire

BYTES_PER_TOKEN = 3
"""A rough figure across scripts and tokenizers: the service has no tokenizer, and the split only balances work."""


def split(samples: Sequence[wire.AnySample], tokens: int, most: int) -> list[list[wire.AnySample]]:
    """Cuts ``samples`` into runs of at most ``tokens`` estimated tokens and ``most`` samples each, and at least one."""
    return list(_runs(samples, tokens, most))


def dump(run: Sequence[wire.AnySample]) -> str:
    """A run as a worker reads it."""
    return json.dumps([sample.model_dump(exclude_none=True) for sample in run], ensure_ascii=False)


def _runs(samples: Iterable[wire.AnySample], tokens: int, most: int) -> Iterator[list[wire.AnySample]]:
    run: list[wire.AnySample] = []
    used = 0
    for sample in samples:
        cost = estimated_tokens(sample)
        if run and (used + cost > tokens or len(run) == most):
            yield run
            run, used = [], 0
        run.append(sample)
        used += cost
    if run:
        yield run


def estimated_tokens(sample: wire.AnySample) -> int:
    """Tokens of the sample's one sequence or of its two: tools, prompt and completion each."""
    shared = _json_size(sample.tools) + _json_size(sample.chat_template_kwargs) + _size(sample.prompt)
    completions = [sample.completion] if isinstance(sample, wire.PromptCompletion) else [sample.chosen, sample.rejected]
    return sum(shared + _size(completion) for completion in completions) // BYTES_PER_TOKEN + 1


def _size(content: str | list[wire.Message] | None) -> int:
    if content is None:
        return 0
    if isinstance(content, str):
        return len(content.encode())
    return sum(_message_size(message) for message in content)


def _message_size(message: wire.Message) -> int:
    rest = message.model_dump(exclude={"role", "content"}, exclude_none=True)
    if isinstance(message.content, list):
        return sum(len(block.text.encode()) for block in message.content) + _json_size(rest)
    return _size(message.content) + _json_size(rest)


def _json_size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode()) if value else 0
