"""Real pairs with planted conflicts: a share of the labels is swapped, and which is known."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from congrad.contract import wire
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.direction import Samples
from transformers import LlamaForCausalLM

from benchmarks.planted.likelihoods import sequence_logps
from benchmarks.planted.scoring import encode, gradients, part

MAX_TOKENS = 384
"""Of prompt and completion: longer pairs are left out, which would take most of the time."""
TRAINED_TOKENS = 144
"""Likewise, of pairs that models are trained and measured on."""
MATCHED = math.log(1.25)
"""Completions are of matched length where the logarithm of their ratio is at most this."""
SWAPPED = 0.2
HELD_OUT = 1 / 3
"""The share of prompts that no model is trained on."""


@dataclass(frozen=True)
class Labelled:
    """n pairs as a score or a trainer sees them.

    ``groups``, ``[n]``, is the same for translations of one pair. ``logps`` is float64 ``[n, 2]``, in nats; ``samples``
    has gradients by the name of the settings that they were computed with.
    """

    texts: list[wire.Sample]
    encoded: list[EncodedPair]
    groups: np.ndarray
    logps: np.ndarray
    samples: dict[str, Samples]

    @property
    def languages(self) -> np.ndarray:
        """Tags, ``[n]``."""
        return np.array([text.language for text in self.texts])

    @property
    def length_ratios(self) -> np.ndarray:
        """ln |chosen| − ln |rejected|, in tokens: float64 ``[n]``."""
        lengths = np.array([(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in self.encoded], dtype=float)
        ratios: np.ndarray = np.log(lengths[:, 0] / lengths[:, 1])
        return ratios

    def of(self, rows: np.ndarray) -> "Labelled":
        """Some of the pairs."""
        return Labelled(
            [self.texts[i] for i in rows],
            [self.encoded[i] for i in rows],
            self.groups[rows],
            self.logps[rows],
            {name: part(samples, rows) for name, samples in self.samples.items()},
        )

    def swapped(self, wrong: np.ndarray) -> "Labelled":
        """With chosen and rejected exchanged where ``wrong``, bool ``[n]``.

        Where the reference is the policy, the loss of a swapped pair has the same gradient with the other sign.
        """
        signs = np.where(wrong, -1, 1).astype(np.float16)[:, None]
        return Labelled(
            [_swapped_text(text) if w else text for text, w in zip(self.texts, wrong, strict=True)],
            [
                replace(pair, chosen_ids=pair.rejected_ids, rejected_ids=pair.chosen_ids) if w else pair
                for pair, w in zip(self.encoded, wrong, strict=True)
            ],
            self.groups,
            np.where(wrong[:, None], self.logps[:, ::-1], self.logps),
            {name: replace(samples, units=samples.units * signs) for name, samples in self.samples.items()},
        )


def _swapped_text(text: wire.Sample) -> wire.Sample:
    return text.model_copy(update={"chosen": text.rejected, "rejected": text.chosen})


@dataclass(frozen=True)
class RealPairs:
    """The pairs of a file, their labels taken to be right: of languages to train on, and of others, for which there are
    no gradients."""

    seen: Labelled
    unseen: Labelled


def read(data: Path, folder: Path, seen: int, options: Mapping[str, Mapping[str, object]]) -> RealPairs:
    """The pairs of a JSONL file that are not too long, with their gradients under each of ``options``.

    A column ``group`` says which rows are translations of each other, or else what stands in ``id`` behind the
    language, as in ``de-03``; of rows with a true ``planted`` the label is
    known to be wrong, and they are taken the other way round.

    :param seen: how many languages to train on, the first ones by their tags.
    """
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    texts = [text_of(row) for row in rows]
    encoded = encode(folder, texts)
    fits = [i for i, pair in enumerate(encoded) if pair.length <= MAX_TOKENS and pair.chosen_ids and pair.rejected_ids]
    pairs = Labelled(
        [texts[i] for i in fits],
        [encoded[i] for i in fits],
        np.array([group_of(rows[i]) for i in fits]),
        sequence_logps(LlamaForCausalLM.from_pretrained(folder, dtype="float32"), [encoded[i] for i in fits]),
        {},
    )
    is_seen = np.isin(pairs.languages, np.unique(pairs.languages)[:seen])
    trained, others = pairs.of(np.flatnonzero(is_seen)), pairs.of(np.flatnonzero(~is_seen))
    samples = {name: gradients(folder, trained.texts, **changed) for name, changed in options.items()}
    return RealPairs(replace(trained, samples=samples), others)


def group_of(row: Mapping[str, Any]) -> str:
    """What is the same for translations of one pair."""
    return str(row.get("group", str(row["id"]).removeprefix(f"{row['language']}-")))


def text_of(row: Mapping[str, Any]) -> wire.Sample:
    """The pair with its label as it should be."""
    sample = wire.Sample.model_validate({key: row[key] for key in ("language", "prompt", "chosen", "rejected")})
    return _swapped_text(sample) if row.get("planted") else sample


def plant(languages: np.ndarray, seed: int) -> np.ndarray:
    """A fifth of the pairs of each language, at random: bool ``[n]``."""
    draw = np.random.default_rng([seed, 3])
    wrong = np.zeros(len(languages), dtype=bool)
    for tag in np.unique(languages):
        rows = np.flatnonzero(languages == tag)
        wrong[draw.permutation(rows)[: round(SWAPPED * len(rows))]] = True
    return wrong


def matched(pairs: Labelled) -> np.ndarray:
    """The pairs whose completions differ little in length: positions."""
    return np.flatnonzero(np.abs(pairs.length_ratios) <= MATCHED)


def short(pairs: Labelled) -> Labelled:
    """Those of at most `TRAINED_TOKENS`."""
    return pairs.of(np.flatnonzero([pair.length <= TRAINED_TOKENS for pair in pairs.encoded]))


def balanced(pairs: Labelled) -> np.ndarray:
    """As many pairs with the longer completion chosen as with the shorter one, language by language: positions.

    Each of the rarer kind goes with the one of the other that differs most nearly as much.
    """
    ratios, languages = pairs.length_ratios, pairs.languages
    found: list[int] = []
    for tag in np.unique(languages):
        rows = np.flatnonzero(languages == tag)
        rarer, others = sorted((rows[ratios[rows] < 0], rows[ratios[rows] > 0]), key=len)
        left = list(others)
        for row in rarer:
            partner = min(left, key=lambda other: abs(ratios[other] + ratios[row]))
            left.remove(partner)
            found += [row, partner]
    return np.array(sorted(found))
