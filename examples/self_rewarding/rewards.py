"""A reward function, for a model that is too small to judge."""

from collections import defaultdict
from functools import cache
from itertools import pairwise

from congrad.local.demo import demo_pairs


def own_language(language: str, _: str, answer: str) -> float:
    """From 0 to 1: of the answer's characters and pairs of neighbouring characters, the share that occurs in the
    shipped texts of its language."""
    grams = _grams(answer)
    return sum(gram in _known()[language] for gram in grams) / max(len(grams), 1)


@cache
def _known() -> dict[str, set[str]]:
    known: dict[str, set[str]] = defaultdict(set)
    for pair in demo_pairs():
        for text in (pair["prompt"], pair["chosen"], pair["rejected"]):
            known[pair["language"]].update(_grams(text))
    return known


def _grams(text: str) -> list[str]:
    return [*text, *map("".join, pairwise(text))]
