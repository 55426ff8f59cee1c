"""The pairs that pretrained models are measured on."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from congrad.contract import wire
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.pairs import EncodedPair
from transformers import AutoTokenizer

from benchmarks.planted.real_text import group_of, text_of

MAX_TOKENS = 160
"""Of prompt and completion: longer pairs are left out, which would take most of the time."""
DRAW = 0
"""Of which pairs of a language are taken."""


@dataclass(frozen=True)
class Pairs:
    """n pairs whose labels are taken to be right. ``groups`` is the same for translations of one pair."""

    texts: list[wire.Sample]
    encoded: list[EncodedPair]
    groups: np.ndarray

    @property
    def languages(self) -> np.ndarray:
        """Tags, ``[n]``."""
        return np.array([text.language for text in self.texts])

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of chosen and rejected: float64 ``[n, 2]``."""
        return np.array([(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in self.encoded], dtype=np.float64)

    def of(self, rows: np.ndarray) -> "Pairs":
        """Some of the pairs."""
        return Pairs([self.texts[i] for i in rows], [self.encoded[i] for i in rows], self.groups[rows])


def read(data: Path, model: Path, languages: list[str], each: int) -> Pairs:
    """Of each language, ``each`` pairs at random of those that are not too long; fewer where there are no more.

    The columns are those of `benchmarks.planted.real_text.read`.
    """
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    rows = [rows[i] for i in np.random.default_rng(DRAW).permutation(len(rows)) if rows[i]["language"] in languages]
    encoder = Encoder(AutoTokenizer.from_pretrained(model), max_length=1 << 20)
    found: list[tuple[wire.Sample, EncodedPair, str]] = []
    counts: Counter[str] = Counter()
    for row in rows:
        text = text_of(row)
        if counts[text.language] < each and _suits(pair := encoder.encode(text)):
            counts[text.language] += 1
            found.append((text, pair, group_of(row)))
    found.sort(key=lambda one: languages.index(one[0].language))
    return Pairs(
        [text for text, _, _ in found], [pair for _, pair, _ in found], np.array([group for *_, group in found])
    )


def _suits(pair: EncodedPair) -> bool:
    return pair.length <= MAX_TOKENS and bool(pair.chosen_ids and pair.rejected_ids) and not pair.is_tie
