"""How much of a text a tokenizer has to see: megabytes take it seconds and gigabytes, and all but the beginning is cut
off behind it."""

from typing import Any

from transformers import PreTrainedTokenizerBase

BEHIND = 64
"""Tokens behind the last one that is looked at: where a text is cut, its last tokens are others."""


def most_characters(tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """Characters that the first ``max_length`` tokens of a text cannot go beyond.

    A token is written with at least as many characters in the vocabulary as it stands for in a text.
    """
    return (max_length + BEHIND) * max(map(len, tokenizer.get_vocab()))


def characters(content: Any) -> int:
    """Of all strings in something like JSON, names included."""
    match content:
        case str():
            return len(content)
        case dict():
            return sum(characters(name) + characters(value) for name, value in content.items())
        case list():
            return sum(map(characters, content))
    return 0
