r"""Conflict scores from the inner products of all pairs with each other.

A swapped label turns a gradient round: one matrix serves every draw, and a score costs no vector. For one request that
begins a direction the formulas are those of `congrad_worker.decisions`, with means over n pairs of a language:

.. math:: K = M^\top G M, \qquad \langle g_i, \hat g_l\rangle = (G M)_{il}, \qquad M_{il} = [i \in l] / n_l
"""

from dataclasses import dataclass

import numpy as np
from congrad_worker.decisions.aggregation.aggregators import aggregator

SEED = 0
"""Of the orders of surgery."""

OWN = "own-language cosine"


@dataclass(frozen=True)
class Inner:
    """Inner products with the means of L languages.

    ``gram`` is float64 ``[n, n]``, ``along`` ``[n, L]``, ``between`` ``[L, L]``; ``own``, int64 ``[n]``, is each pair's
    language, and ``counts``, ``[L]``, says how many pairs one has.
    """

    gram: np.ndarray
    along: np.ndarray
    between: np.ndarray
    own: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, gram: np.ndarray, languages: np.ndarray) -> "Inner":
        tags, own, counts = np.unique(languages, return_inverse=True, return_counts=True)
        members = (own[:, None] == np.arange(len(tags))) / counts  # [n, L]
        along = gram @ members
        return cls(gram, along, members.T @ along, own, counts)

    def conflict(self, weights: np.ndarray) -> np.ndarray:
        """−cos(g_i, d₋ᵢ): float64 ``[n]``.

        :param weights: w of the languages' means, float64 ``[L]``, or of each pair's own direction, ``[n, L]``.
        """
        rows = np.broadcast_to(weights, self.along.shape)
        squares = np.diagonal(self.gram)
        share = rows[np.arange(len(rows)), self.own] / self.counts[self.own]
        along = np.einsum("nl,nl->n", self.along, rows)
        whole = np.einsum("nl,lm,nm->n", rows, self.between, rows)
        rest = np.maximum(whole - 2 * share * along + share**2 * squares, np.finfo(np.float64).tiny)
        conflict: np.ndarray = -(along - share * squares) / np.sqrt(squares * rest)
        return conflict

    def by(self, name: str) -> np.ndarray:
        """The scores by an aggregator's weights, or against the pair's own language."""
        if name == OWN:
            return self.conflict(np.eye(len(self.counts))[self.own])
        return self.conflict(aggregator(name)(self.between, SEED).weights)


def signed(gram: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The matrix with some gradients turned round."""
    turned: np.ndarray = gram * np.outer(signs, signs)
    return turned


def unit(gram: np.ndarray) -> np.ndarray:
    """That of the gradients scaled to length 1."""
    norms = np.sqrt(np.diagonal(gram))
    scaled: np.ndarray = gram / np.outer(norms, norms)
    return scaled
