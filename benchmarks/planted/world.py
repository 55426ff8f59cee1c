"""The world: what its texts are, which answers are better, and which pairs are labelled against that.

A prompt gives a symbol x and asks to count on from it. An answer counts up or down, modulo the number of symbols;
it may say x again first, and may return to x at its end; it ends with a closing word of one of two manners. Up is
better, in all languages; the rest is style, or taste: of manners languages may prefer the one or the other. A second
task, skipping by threes, has one right answer and no preferences: the tax.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from congrad.contract import wire

from benchmarks.planted.vocabulary import CLOSINGS, GREETINGS, OPENINGS, SYMBOLS, language_tags, word

UP, DOWN = 0, 1
ASPECTS = 4
"""Of an answer: its direction, whether x is said again first (0) or not (1), whether the end returns to x (0), and the
manner of its closing word."""
MANNER = 3


class Kind(StrEnum):
    """How a pair came by its label. All but the first are conflicts."""

    CLEAN = "clean"
    SWAPPED = "swapped"  # the label is the wrong way round
    RIVAL = "rival"  # judged by another criterion, at the cost of the shared one: not to say x again
    COIN = "coin"  # by a coin, which fell on the wrong side


@dataclass(frozen=True)
class World:
    """The sizes and shares of a world.

    With ``announced`` an answer begins with a word that announces its direction, one of three synonyms: the criterion
    is then one choice, which all prompts and languages share. Without, it shows in the symbols alone, and each symbol
    has to be learnt apart.
    """

    announced: bool = True
    seen: int = 8
    unseen: int = 4
    pairs: int = 100  # of each seen language
    swapped: float = 0.2  # share of the labels, in every language but those below
    rival_languages: tuple[int, ...] = (1, 4)
    rival: float = 0.3  # share of their pairs; a fifth of the others has a swapped label
    noisy_languages: tuple[int, ...] = (2, 6)
    coin: float = 0.4  # share of their labels; a fifth of the others is swapped
    taste: float = 0.0  # share of pairs whose answers differ in manner, the chosen one having that of its language
    other_taste: tuple[int, ...] = ()  # languages that prefer the second manner
    style_differs: float = 0.3  # share of pairs of which a style aspect is drawn for each side by itself
    typos: float = 0.02  # share of symbols that are drawn anew, in training
    borrowed: float = 0.15  # share of words that texts, not pairs, take from any language
    held_out: int = 60  # clean pairs of each language
    tax_texts: int = 40  # of each language

    @cached_property  # each word asks for it
    def languages(self) -> list[str]:
        """All, the seen ones first."""
        return language_tags(self.seen + self.unseen)


@dataclass(frozen=True)
class PlantedPair:
    """A pair, and how it came by its label."""

    sample: wire.Sample
    kind: Kind

    @property
    def conflicts(self) -> bool:
        """Whether the label is against the shared criterion."""
        return self.kind is not Kind.CLEAN


class Author:
    """Writes the texts and pairs of one world from one seed.

    How often each language's texts count up, say x again, or return to it, is drawn from 40 to 60 %: what a model of
    them prefers at the start says nothing about which answers are better.
    """

    def __init__(self, world: World, seed: int):
        self.world = world
        self._rng = np.random.default_rng([seed, 1])
        self._habits = self._rng.uniform(0.4, 0.6, (len(world.languages), ASPECTS))

    def text(self) -> tuple[str, str]:
        """A prompt and its answer, in either task, as models are pretrained on."""
        language = int(self._rng.integers(len(self.world.languages)))
        task = ("count", "skip")[self._rng.integers(2)]
        start, length = self._draw()
        answer = self._answer(language, task, start, length, self._style(language), self.world.borrowed)
        return self._prompt(language, task, start), answer

    def tax_text(self, language: int) -> tuple[str, str]:
        """A prompt and its answer in the task without preferences, nothing borrowed."""
        start, length = self._draw()
        answer = self._answer(language, "skip", start, length, self._style(language), 0.0)
        return self._prompt(language, "skip", start), answer

    def training_pairs(self) -> list[PlantedPair]:
        """The pairs of the seen languages, in a random order."""
        pairs = [self.pair(language, self._kind(language)) for language in range(self.world.seen) for _ in self._each()]
        return [pairs[i] for i in self._rng.permutation(len(pairs))]

    def held_out_pairs(self) -> list[PlantedPair]:
        """Clean pairs of all languages; the answers of each differ in direction alone."""
        world = self.world
        return [
            self.pair(language, Kind.CLEAN, matched=True)
            for language in range(len(world.languages))
            for _ in range(world.held_out)
        ]

    def pair(self, language: int, kind: Kind, matched: bool = False) -> PlantedPair:
        """Two answers of the same length to one prompt, one of them better.

        :param matched: the same style in both answers, and no typos.
        """
        start, length = self._draw()
        good = self._style(language)
        bad = good.copy()
        good[0], bad[0] = UP, DOWN
        for aspect in range(1, ASPECTS):
            if not matched and self._rng.random() < self.world.style_differs:
                bad[aspect] = self._style(language)[aspect]
        if kind is Kind.RIVAL:
            good[1], bad[1] = 0, 1
        styles = (good, bad) if kind is Kind.CLEAN else (bad, good)
        if not matched and self._rng.random() < self.world.taste:
            preferred = int(language in self.world.other_taste)
            styles[0][MANNER], styles[1][MANNER] = preferred, 1 - preferred
        chosen = rejected = ""
        while chosen == rejected:  # a typo can make one answer of two
            chosen, rejected = (
                self._answer(language, "count", start, length, style, 0.0, typos=not matched) for style in styles
            )
        sample = wire.Sample(
            language=self.world.languages[language],
            prompt=self._prompt(language, "count", start),
            chosen=chosen,
            rejected=rejected,
        )
        return PlantedPair(sample, kind)

    def _each(self) -> range:
        return range(self.world.pairs)

    def _kind(self, language: int) -> Kind:
        world = self.world
        if language in world.rival_languages and self._rng.random() < world.rival:
            return Kind.RIVAL
        if language in world.noisy_languages and self._rng.random() < world.coin:
            return Kind.COIN if self._rng.random() < 0.5 else Kind.CLEAN
        return Kind.SWAPPED if self._rng.random() < world.swapped else Kind.CLEAN

    def _draw(self) -> tuple[int, int]:
        """A symbol to begin at, and a length of 3 to 6."""
        return int(self._rng.integers(SYMBOLS)), int(self._rng.integers(3, 7))

    def _style(self, language: int) -> np.ndarray:
        style: np.ndarray = (self._rng.random(ASPECTS) > self._habits[language]).astype(int)
        return style

    def _prompt(self, language: int, task: str, start: int) -> str:
        return self._words(language, ["tag", task, f"symbol{start}", "="], 0.0)

    def _answer(
        self,
        language: int,
        task: str,
        start: int,
        length: int,
        style: np.ndarray,
        borrowed: float,
        typos: bool = True,
    ) -> str:
        """With a space before it, as TRL joins prompt and completion."""
        direction, skips_start, goes_on, manner = style if task == "count" else (UP, 1, 1, style[MANNER])
        step = 3 if task == "skip" else (1 if direction == UP else -1)
        symbols = (start + step * np.arange(skips_start, length + skips_start)) % SYMBOLS
        if not goes_on:
            symbols[-1] = start
        if typos:
            wrong = self._rng.random(length) < self.world.typos
            symbols[wrong] = self._rng.integers(0, SYMBOLS, wrong.sum())
        concepts = [*(f"symbol{i}" for i in symbols), f"close{self._rng.integers(CLOSINGS) + CLOSINGS * manner}"]
        if self.world.announced:
            concepts.insert(0, self._opening(task, direction))
        if self.world.taste:
            concepts.insert(0, f"greet{self._rng.integers(GREETINGS) + GREETINGS * manner}")
        return " " + self._words(language, concepts, borrowed)

    def _opening(self, task: str, direction: int) -> str:
        if task == "skip":  # announces nothing there
            return f"open{self._rng.integers(2 * OPENINGS)}"
        return f"open{self._rng.integers(OPENINGS) + OPENINGS * direction}"

    def _words(self, language: int, concepts: Sequence[str], borrowed: float) -> str:
        tags = self.world.languages
        lenders = self._rng.integers(0, len(tags), len(concepts))
        takes = self._rng.random(len(concepts)) < borrowed
        return " ".join(
            word(tags[lender if take else language], concept)
            for concept, lender, take in zip(concepts, lenders, takes, strict=True)
        )
