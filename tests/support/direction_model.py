"""The method of the design in plain NumPy, on whole vectors, knowing nothing of the product's code: running directions,
and what a job that is folded in or scored gets for an answer."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from support.scoring import explicit_pcgrad

ZERO = 1e-5
"""What is left of a direction once a sample's own share is out, relative to the direction: rounding of float32."""

_lives = count()


@dataclass
class Language:
    """S, W, the samples folded in, and the scores given so far."""

    total: np.ndarray
    weight: float = 0.0
    samples: int = 0
    recent: list[float] = field(default_factory=list)

    def copy(self) -> "Language":
        return Language(self.total.copy(), self.weight, self.samples, list(self.recent))


@dataclass
class Direction:
    """A direction in one of its lives; each reset or import begins another."""

    version: int = 0
    languages: dict[str, Language] = field(default_factory=dict)
    commits: list[tuple[int, str]] = field(default_factory=list)
    """The versions of this life, and the jobs that made them."""
    conflicts: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """The pairs that those dropped by language, and by that and another with which they conflict."""
    pairs: "dict[tuple[str, int], Stake]" = field(default_factory=dict)
    """What it is made of, as far as that is known: by language and number, the latest stake with all before it."""
    life: int = field(default_factory=lambda: next(_lives))

    def copy(self) -> "Direction":
        """The same in a new life."""
        languages = {tag: language.copy() for tag, language in self.languages.items()}
        return Direction(self.version, languages, pairs=dict(self.pairs))

    def share(self, tag: str, stake: "Stake", half_life: float) -> float:
        """c = 2^(−m/h)·(a/n)/W of something that was folded in when there were m samples of the language less."""
        own = self.languages[tag]
        left: float = 2.0 ** (-(own.samples - stake.samples) / half_life)
        return left * stake.each / own.weight

    def means(self) -> np.ndarray:
        """ĝ of each language, by name: ``[L, D]``."""
        return np.stack([language.total / language.weight for _, language in sorted(self.languages.items())])


@dataclass(frozen=True)
class Stake:
    """What was folded in of a job's samples of one language: a/n, and how many of the language there were then."""

    each: float
    samples: int


@dataclass
class Asked:
    """A job's samples. A pair's number is None where nobody is to know it; ``once`` says that one does not count again.
    ``stakes`` and ``repeated`` are what came of its folding in."""

    gradients: np.ndarray
    tags: list[str]
    numbers: list[int | None]
    once: bool
    stakes: dict[str, Stake] = field(default_factory=dict)
    repeated: list[bool] = field(default_factory=list)


def is_usable(gradient: np.ndarray) -> bool:
    return bool(np.isfinite(gradient).all() and gradient.any())


def fold(direction: Direction, asked: Asked, half_life: float) -> None:
    """ρ = 2^(−n/h), a = (1−ρ)·h/ln 2, S ← ρS + aḡ, W ← ρW + a, in place, of those samples whose pairs are new."""
    seen = set(direction.pairs) if asked.once else set()
    new = []
    for gradient, tag, number in zip(asked.gradients, asked.tags, asked.numbers, strict=True):
        new.append(is_usable(gradient) and (number is None or (tag, number) not in seen))
        if new[-1] and asked.once and number is not None:
            seen.add((tag, number))
    asked.repeated = [is_usable(gradient) and not own for gradient, own in zip(asked.gradients, new, strict=True)]
    for tag in sorted(set(asked.tags)):
        own = [g for g, t, is_new in zip(asked.gradients, asked.tags, new, strict=True) if t == tag and is_new]
        if not own:
            continue
        language = direction.languages.setdefault(tag, Language(np.zeros(asked.gradients.shape[1])))
        rho = 2.0 ** (-len(own) / half_life)
        a = (1 - rho) * half_life / np.log(2)
        language.total = (rho * language.total + a * np.mean(own, axis=0)).astype(np.float32).astype(np.float64)
        language.weight = rho * language.weight + a
        language.samples += len(own)
        asked.stakes[tag] = Stake(a / len(own), language.samples)
    direction.version += bool(asked.stakes)
    _know(direction, asked, new, half_life)


def _know(direction: Direction, asked: Asked, new: list[bool], half_life: float) -> None:
    brought: Counter[tuple[str, int]] = Counter()
    for tag, number, is_new in zip(asked.tags, asked.numbers, new, strict=True):
        if is_new and number is not None:
            brought[tag, number] += 1
    for (tag, number), times in brought.items():
        each, samples = times * asked.stakes[tag].each, asked.stakes[tag].samples
        if (before := direction.pairs.get((tag, number))) is not None:
            each += 2.0 ** (-(samples - before.samples) / half_life) * before.each
        direction.pairs[tag, number] = Stake(each, samples)


def shares(direction: Direction, asked: Asked, updated: bool, half_life: float) -> list[float]:
    """What each sample has in its language by now: all that its pair has brought, or, where that does not matter or is
    not known, what its own job has."""
    found = []
    for place, (tag, number) in enumerate(zip(asked.tags, asked.numbers, strict=True)):
        known = direction.pairs.get((tag, number)) if number is not None and asked.once else None
        own = None if asked.repeated and asked.repeated[place] else asked.stakes.get(tag)
        stake = own if updated and own is not None else known or own
        found.append(0.0 if stake is None else direction.share(tag, stake, half_life))
    return found


def score(direction: Direction, gradients: np.ndarray, tags: list[str], shares: list[float]) -> list[float | str]:
    """For each sample −cos(g, d − w_l c g) with its share c; or the reason why there is none."""
    if not direction.languages:
        return [_unusable(gradient) or "no_direction" for gradient in gradients]
    whole, weights = explicit_pcgrad(direction.means())
    weight_of = dict(zip(sorted(direction.languages), weights, strict=True))
    scores: list[float | str] = []
    for gradient, tag, share in zip(gradients, tags, shares, strict=True):
        if (reason := _unusable(gradient)) is not None:
            scores.append(reason)
            continue
        rest = whole - weight_of.get(tag, 0.0) * share * gradient
        length = np.linalg.norm(rest)
        if length <= ZERO * np.linalg.norm(whole):
            scores.append("no_direction")
        else:
            scores.append(float(-gradient @ rest / np.linalg.norm(gradient) / length))
    return scores


def remember(direction: Direction, asked: Asked, scores: list[float | str]) -> None:
    """Appends the scores of what was folded in to those of their languages."""
    for tag, given, was_repeated in zip(asked.tags, scores, asked.repeated, strict=True):
        if not isinstance(given, str) and not was_repeated:
            direction.languages[tag].recent.append(given)


def _unusable(gradient: np.ndarray) -> str | None:
    if not np.isfinite(gradient).all():
        return "non_finite_gradient"
    return None if gradient.any() else "zero_gradient"
