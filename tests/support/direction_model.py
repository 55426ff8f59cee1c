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
    life: int = field(default_factory=lambda: next(_lives))

    def copy(self) -> "Direction":
        """The same in a new life."""
        return Direction(self.version, {tag: language.copy() for tag, language in self.languages.items()})

    def means(self) -> np.ndarray:
        """ĝ of each language, by name: ``[L, D]``."""
        return np.stack([language.total / language.weight for _, language in sorted(self.languages.items())])


@dataclass(frozen=True)
class Stake:
    """What was folded in of a job's samples of one language: a/n, and how many of the language there were then."""

    each: float
    samples: int


def is_usable(gradient: np.ndarray) -> bool:
    return bool(np.isfinite(gradient).all() and gradient.any())


def fold(direction: Direction, gradients: np.ndarray, tags: list[str], half_life: float) -> dict[str, Stake]:
    """ρ = 2^(−n/h), a = (1−ρ)·h/ln 2, S ← ρS + aḡ, W ← ρW + a, in place; the stakes by language."""
    stakes = {}
    for tag in sorted(set(tags)):
        own = [g for g, t in zip(gradients, tags, strict=True) if t == tag and is_usable(g)]
        if not own:
            continue
        language = direction.languages.setdefault(tag, Language(np.zeros(gradients.shape[1])))
        rho = 2.0 ** (-len(own) / half_life)
        a = (1 - rho) * half_life / np.log(2)
        language.total = (rho * language.total + a * np.mean(own, axis=0)).astype(np.float32).astype(np.float64)
        language.weight = rho * language.weight + a
        language.samples += len(own)
        stakes[tag] = Stake(a / len(own), language.samples)
    direction.version += bool(stakes)
    return stakes


def score(
    direction: Direction, gradients: np.ndarray, tags: list[str], stakes: dict[str, Stake], half_life: float
) -> list[float | str]:
    """For each sample −cos(g, d − w_l c g), where c = 2^(−m/h)·(a/n)/W with m samples folded in since; or the reason
    why there is none."""
    if not direction.languages:
        return [_unusable(gradient) or "no_direction" for gradient in gradients]
    whole, weights = explicit_pcgrad(direction.means())
    weight_of = dict(zip(sorted(direction.languages), weights, strict=True))
    scores: list[float | str] = []
    for gradient, tag in zip(gradients, tags, strict=True):
        if (reason := _unusable(gradient)) is not None:
            scores.append(reason)
            continue
        share = 0.0
        if (stake := stakes.get(tag)) is not None:
            language = direction.languages[tag]
            share = 2.0 ** (-(language.samples - stake.samples) / half_life) * stake.each / language.weight
        rest = whole - weight_of.get(tag, 0.0) * share * gradient
        length = np.linalg.norm(rest)
        if length <= ZERO * np.linalg.norm(whole):
            scores.append("no_direction")
        else:
            scores.append(float(-gradient @ rest / np.linalg.norm(gradient) / length))
    return scores


def remember(direction: Direction, tags: list[str], scores: list[float | str]) -> None:
    """Appends a folded job's scores to those of their languages."""
    for tag, given in zip(tags, scores, strict=True):
        if not isinstance(given, str) and tag in direction.languages:
            direction.languages[tag].recent.append(given)


def _unusable(gradient: np.ndarray) -> str | None:
    if not np.isfinite(gradient).all():
        return "non_finite_gradient"
    return None if gradient.any() else "zero_gradient"
