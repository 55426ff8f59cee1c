r"""The consensus :math:`d = \sum_l w_l \hat g_l` of some languages, and what of it need not be computed again.

A request touches a few languages of many. Of the Gram matrix only their rows change, so that a request costs
:math:`L D` for each of them, and not :math:`L^2 D`; one that touches none costs no surgery either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from congrad_worker.decisions.aggregation.surgery import Aggregator, Surgery
from congrad_worker.decisions.direction import LanguageState

BLOCK = 32
"""Languages whose vectors are held in float64 at a time: 4 MiB at D = 16,384."""


@dataclass(frozen=True)
class Rule:
    """By which weights come from a Gram matrix. ``name`` and ``seed`` tell whether two are the same."""

    name: str
    seed: int
    aggregate: Aggregator


@dataclass(frozen=True)
class Consensus:
    """A direction, for L languages sorted by tag.

    ``gram`` is float64 ``[L, L]``, of the language gradients ĝ; ``weights`` is w, float64 ``[L]``. ``surgery`` is where
    they come from; None where they were remembered.
    """

    languages: Mapping[str, LanguageState]
    gram: np.ndarray
    weights: np.ndarray
    rule: tuple[str, int]
    surgery: Surgery | None = None

    @property
    def tags(self) -> list[str]:
        """The languages, in the order of the matrix."""
        return sorted(self.languages)

    @property
    def norm_squared(self) -> float:
        """‖d‖²."""
        return float(self.weights @ self.gram @ self.weights)

    @cached_property
    def sums(self) -> np.ndarray:
        """S of all languages: float32 ``[L, D]``."""
        return _sums(self.languages)

    @cached_property
    def direction(self) -> np.ndarray:
        """d, float64 ``[D]``. In float64, as what is left once a sample's own share is out may be nothing."""
        total = np.zeros(self.sums.shape[1])
        for row, tag, weight in zip(self.sums, self.tags, self.weights, strict=True):
            total += row.astype(np.float64) * (weight / self.languages[tag].weight)
        return total


def consensus(languages: Mapping[str, LanguageState], rule: Rule, before: Consensus | None = None) -> Consensus:
    """The direction of some languages, of which there is at least one.

    :param before: an earlier one. What it knows of languages that have not changed since is taken over.
    """
    if before is None or not _are_the_same(languages, before.languages):
        gram = _gram(languages, before)
    elif before.rule == (rule.name, rule.seed):
        return before
    else:
        gram = before.gram
    surgery = rule.aggregate(gram, rule.seed)
    return Consensus(dict(languages), gram, surgery.weights, (rule.name, rule.seed), surgery)


def _are_the_same(languages: Mapping[str, LanguageState], others: Mapping[str, LanguageState]) -> bool:
    return languages.keys() == others.keys() and not _changed(languages, others)


def _changed(languages: Mapping[str, LanguageState], before: Mapping[str, LanguageState]) -> list[str]:
    """Those that are new, or whose vector is another object: states are never written to."""
    return [tag for tag in sorted(languages) if tag not in before or languages[tag].total is not before[tag].total]


def _gram(languages: Mapping[str, LanguageState], before: Consensus | None) -> np.ndarray:
    tags = sorted(languages)
    position = {tag: index for index, tag in enumerate(tags)}
    gram = np.zeros((len(tags), len(tags)))
    changed = tags
    if before is not None:
        changed = _changed(languages, before.languages)
        kept = sorted(set(tags) & before.languages.keys() - set(changed))
        here = [position[tag] for tag in kept]
        there = [index for index, tag in enumerate(before.tags) if tag in set(kept)]
        gram[np.ix_(here, here)] = before.gram[np.ix_(there, there)]
    rows = [position[tag] for tag in changed]
    weights = np.array([languages[tag].weight for tag in tags])
    products = _products(_sums(languages), rows) / np.outer(weights, weights[rows])  # [L, changed]
    gram[:, rows] = products
    gram[rows, :] = products.T
    return gram


def _sums(languages: Mapping[str, LanguageState]) -> np.ndarray:
    return np.stack([languages[tag].total for tag in sorted(languages)])


def _products(sums: np.ndarray, rows: list[int]) -> np.ndarray:
    """⟨S_i, S_j⟩ of all i and some j: float64 ``[L, rows]``."""
    chosen = sums[rows].astype(np.float64).T
    parts = (sums[start : start + BLOCK].astype(np.float64) @ chosen for start in range(0, len(sums), BLOCK))
    return np.concatenate(list(parts))
