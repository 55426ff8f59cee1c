"""Completions to imitate, a fifth of them noise of known kinds, in the world of the preference pairs.

The model is pretrained on texts that count up about as often as down. A clean row counts up, on from its prompt; what
is noise counts down, answers another prompt, or says its symbols in another order.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from congrad.contract import wire

from benchmarks.planted.world import Author, Kind

NOISE = 0.2
"""The share of rows that are noise, in every language; its kinds are equally frequent."""


class Fault(StrEnum):
    """What is wrong with a row's completion. All but the first are noise."""

    NONE = "clean"
    DIRECTION = "wrong direction"  # it counts down
    PROMPT = "another prompt's"  # it counts up from a symbol that its prompt does not give
    ORDER = "shuffled symbols"


@dataclass(frozen=True)
class PlantedRow:
    """A row, and what is wrong with it."""

    sample: wire.PromptCompletion
    fault: Fault


def planted_rows(author: Author, seed: int) -> list[PlantedRow]:
    """As many rows of each seen language as its world has pairs, in a random order."""
    draw = np.random.default_rng([seed, 3])
    world = author.world
    rows = [_row(author, language, _fault(draw), draw) for language in range(world.seen) for _ in range(world.pairs)]
    return [rows[i] for i in draw.permutation(len(rows))]


def _fault(draw: np.random.Generator) -> Fault:
    kinds = (Fault.DIRECTION, Fault.PROMPT, Fault.ORDER)
    return kinds[draw.integers(len(kinds))] if draw.random() < NOISE else Fault.NONE


def _row(author: Author, language: int, fault: Fault, draw: np.random.Generator) -> PlantedRow:
    """Chosen and rejected of a clean pair count up and down from its prompt's symbol, in the same number of words."""
    pair = author.pair(language, Kind.CLEAN).sample
    completion = str(pair.chosen)
    if fault is Fault.DIRECTION:
        completion = str(pair.rejected)
    elif fault is Fault.PROMPT:
        completion = _answer_to_another(author, language, str(pair.prompt))
    elif fault is Fault.ORDER:
        completion = _shuffled(completion, draw)
    sample = wire.PromptCompletion(language=pair.language, prompt=str(pair.prompt), completion=completion)
    return PlantedRow(sample, fault)


def _answer_to_another(author: Author, language: int, prompt: str) -> str:
    while True:
        other = author.pair(language, Kind.CLEAN).sample
        if other.prompt != prompt:
            return str(other.chosen)


def _shuffled(completion: str, draw: np.random.Generator) -> str:
    """The symbols in another order; all other words stay."""
    words = completion.split(" ")
    places = [i for i, word in enumerate(words) if ":symbol" in word]
    symbols = [words[i] for i in places]
    shuffled = symbols
    while shuffled == symbols:
        shuffled = [symbols[i] for i in draw.permutation(len(symbols))]
    for place, symbol in zip(places, shuffled, strict=True):
        words[place] = symbol
    return " ".join(words)
