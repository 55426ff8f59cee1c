"""Pairs to check an engine with: plain text of any length, in tokens that every model has."""

from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair

TEXT = "The quick brown fox jumps over the lazy dog, and sixty-four zebras ask: whose turn is it to jump again? "
COMPLETION = 8
"""Tokens of the longer completion of short pairs."""


def short_pairs(checkpoint: Checkpoint) -> list[EncodedPair]:
    """Two pairs of unlike lengths."""
    ids = _text(checkpoint, 3 * COMPLETION)
    return [
        EncodedPair(ids[:COMPLETION], ids[COMPLETION:-COMPLETION], ids[4 - COMPLETION :], truncated=False),
        EncodedPair(ids[2:COMPLETION], ids[-7:], ids[-COMPLETION:-2], truncated=False),
    ]


def long_pair(checkpoint: Checkpoint, length: int) -> EncodedPair:
    """One whose chosen sequence has ``length`` tokens, and whose rejected completion follows far behind in a row that
    both share: whatever counts positions or distances by the row counts wrong there.

    The rejected sequence is short, as computing it alone is what there is to compare with.
    """
    trunk, rejected = length // 8, COMPLETION
    ids = _text(checkpoint, length)
    # The text again, from elsewhere: it begins with another token than the chosen completion.
    return EncodedPair(ids[:trunk], ids[trunk:], _another(ids)[trunk : trunk + rejected], truncated=False)


def other_tokens(ids: list[int]) -> dict[int, int]:
    """For every token of some text another token of it."""
    kinds = sorted(set(ids))
    return dict(zip(kinds, kinds[1:] + kinds[:1], strict=True))


def _another(ids: list[int]) -> list[int]:
    other = other_tokens(ids)
    return [other[number] for number in ids]


def _text(checkpoint: Checkpoint, tokens: int) -> list[int]:
    ids: list[int] = checkpoint.tokenizer(TEXT)["input_ids"]
    return (ids * (tokens // len(ids) + 1))[:tokens]
