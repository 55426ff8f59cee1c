"""The language of a text, found out by lingua, which `congrad-filter[detect]` brings."""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

from congrad.contract.tags.languages import UNSURE, normalise_language

AUTO = "auto"
"""In place of a language: that of each row's own text."""

CHARACTERS = 600
"""Of a row, so many are looked at: more do not make it surer."""

SURE = 0.6
"""The least that the probability of a language has to be; else the row's is not known."""


class Guess(NamedTuple):
    """A tag, ``und`` where it is not known, and the probability of the likeliest language."""

    tag: str
    confidence: float


def guess_of(sample: Mapping[str, Any]) -> Guess:
    """The language of a sample: that of its answers, which say more of it than a prompt that may ask for a translation.

    :raises ValueError: lingua is not installed.
    """
    names = ("chosen", "completion", "rejected", "prompt")
    texts = (text for name in names for text in _texts(sample.get(name)))
    return _guess(" ".join(texts)[:CHARACTERS])


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    turns = content if isinstance(content, list) else []
    spoken = [turn.get("content") for turn in reversed(turns) if isinstance(turn, Mapping)]
    return [text for text in spoken if isinstance(text, str)]


# Rows are read twice and more.
@lru_cache(2**16)
def _guess(text: str) -> Guess:
    found = _detector().compute_language_confidence_values(text)
    best = found[0] if found else None
    if best is None or best.value < SURE:
        return Guess(UNSURE, 0.0 if best is None else best.value)
    return Guess(normalise_language(best.language.iso_code_639_1.name), best.value)


@cache
def _detector() -> Any:
    try:
        from lingua import LanguageDetectorBuilder
    except ImportError:
        raise ValueError(
            "--language auto needs lingua-language-detector; install it with: pip install 'congrad-filter[detect]'"
        ) from None
    # Trigrams alone: enough for a few sentences, and a second to load in place of half a minute.
    return LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()
