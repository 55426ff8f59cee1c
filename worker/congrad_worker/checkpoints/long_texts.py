"""How much of a text a tokenizer has to see: megabytes take it seconds and gigabytes, and all but the beginning is cut
off behind it."""

from typing import Any, cast

from congrad.contract.wire import Reason
from transformers import PreTrainedTokenizerBase

from congrad_worker.errors import Unscorable

BEHIND = 64
"""Tokens behind the last one that is looked at: where a text is cut, its last tokens are others."""

FURTHER = 4
"""Times as much is looked at where a beginning was too short, ..."""

FURTHEST = 2**20
"""... and characters that are looked at so at most: they take a tokenizer seconds."""

INDENT = 4
"""Spaces before each level of JSON, in the templates that lay it out: those of Llama 3.1 and later do."""


def first_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], max_length: int, size: int, **options: bool
) -> list[list[int]]:
    """The token ids of each text, of which the first ``max_length`` are those of the whole: all that are cut off by it
    may be missing.

    :param size: characters that are most likely enough: `most_characters`. Some tokenizers make one token of any number
        of them, as of a run of spaces, or of what they do not know.
    :param options: what the tokenizer is called with.
    :raises Unscorable: not even `FURTHEST` characters have tokens enough.
    """
    beginnings = [text[:size] for text in texts]
    found = cast("dict[str, list[list[int]]]", tokenizer(beginnings, **options))["input_ids"]
    for number, (text, ids) in enumerate(zip(texts, found, strict=True)):
        if len(text) <= size or len(ids) >= max_length + BEHIND:
            continue
        if size >= FURTHEST:
            detail = f"its first {size:,} characters have {len(ids)} tokens, and what is behind them is not looked at"
            raise Unscorable(Reason.PROMPT_TOO_LONG, detail)
        further = min(FURTHER * size, FURTHEST)
        (found[number],) = first_tokens(tokenizer, [text], max_length, further, **options)
    return found


def most_characters(tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """Characters that the first ``max_length`` tokens of a text hardly go beyond.

    A token is written with at least as many characters in the vocabulary as it stands for in a text, unless texts are
    normalised to fewer, or a token stands for what is in no vocabulary.
    """
    return (max_length + BEHIND) * max(map(len, tokenizer.get_vocab()))


def characters(content: Any, indent: int = 0) -> int:
    """Of all strings and numbers in something like JSON, names included, and of what a template writes before each
    value that has a line of its own: as indented JSON, a list within many others is a hundred times as long as it was
    sent.
    """
    match content:
        case int() | float():
            return indent + len(str(content))
        case str():
            return indent + len(content)
        case dict():
            return indent + sum(len(name) + characters(value, indent + INDENT) for name, value in content.items())
        case list():
            return indent + sum(characters(value, indent + INDENT) for value in content)
    return indent
