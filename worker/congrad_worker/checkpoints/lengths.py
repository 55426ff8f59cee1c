"""How much longer the chosen answer is, in characters: a filter may learn that alone."""

from itertools import chain
from typing import Any

from congrad.contract import wire

from congrad_worker.checkpoints.encoding import explicit_prompt


def length_ratio(sample: wire.AnySample) -> float | None:
    """Characters of the chosen answer divided by those of the rejected one, without the prompt; None where one of them
    has none, and of a completion that has no other beside it."""
    if isinstance(sample, wire.PromptCompletion):
        return None
    _, chosen, rejected = explicit_prompt(sample)
    own, other = _characters(chosen), _characters(rejected)
    return own / other if own and other else None


def _characters(answer: Any) -> int:
    """:param answer: a string, or turns whose content is one, or blocks of text."""
    if isinstance(answer, str):
        return len(answer)
    contents = [turn["content"] for turn in answer if turn.get("content") is not None]
    blocks = chain.from_iterable([content] if isinstance(content, str) else content for content in contents)
    return sum(len(block) if isinstance(block, str) else len(block["text"]) for block in blocks)
