r"""Gradient surgery in the Gram matrix: language gradients in, the weights of the consensus direction out.

All of it needs inner products only: with :math:`K_{ij} = \langle\hat g_i, \hat g_j\rangle` a direction
:math:`d = \sum_l w_l \hat g_l` is its weights, and :math:`\langle d, \hat g_j\rangle = (wK)_j`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np

from congrad_worker.randomness import generator

ORDERS = 1024
"""Orders that PCGrad averages over where there are more than can all be taken."""

BLOCK = 2**18
"""Entries of the coefficient tensor that one vectorised block holds at most: 2 MiB, which a core's cache holds. Sixteen
times as many took 1.6 times as long for 50 languages."""


@dataclass(frozen=True)
class Surgery:
    r"""What came out of surgery, for L languages.

    ``deconflicted`` is float64 ``[L, L]``: row i holds the coefficients of language i's de-conflicted gradient
    :math:`v_i = \sum_j c_{ij} \hat g_j`. ``weights`` is float64 ``[L]``, the mean of its rows: the direction.
    ``orders`` counts the orders that were averaged over; 1 where none matters.
    """

    weights: np.ndarray
    deconflicted: np.ndarray
    orders: int = 1


Aggregator = Callable[[np.ndarray, int], Surgery]
"""From a Gram matrix, float64 ``[L, L]``, and a seed to weights."""


def mean(gram: np.ndarray, _: int) -> Surgery:
    """No surgery: the mean of the language gradients."""
    count = len(gram)
    return Surgery(np.full(count, 1 / count), np.eye(count))


def pcgrad(gram: np.ndarray, seed: int) -> Surgery:
    """PCGrad (Yu et al. 2020, algorithm 1), averaged over orders, and over languages instead of summed.

    One random order decides 30 to 60 % of the signs by itself where conflicts are strong. The average over all orders
    does not depend on any. Up to six languages all are taken; beyond that, ``ORDERS`` of them from ``seed``, applied to
    the languages sorted by norm, so that names and positions have no say.
    """
    canonical = np.lexsort((gram.sum(1), np.diagonal(gram)))
    sorted_gram = gram[np.ix_(canonical, canonical)]
    orders = _orders(len(gram), seed)
    coefficients = project_conflicts(sorted_gram, orders)
    deconflicted = np.empty_like(coefficients)
    deconflicted[np.ix_(canonical, canonical)] = coefficients
    return Surgery(deconflicted.mean(0), deconflicted, len(orders))


def _orders(count: int, seed: int) -> np.ndarray:
    """int64 ``[orders, L]``."""
    if factorial(count) <= ORDERS:
        return np.array(list(permutations(range(count))))
    draw = generator(seed, "surgery", count)
    orders = draw.permuted(np.tile(np.arange(count), (ORDERS // 2, 1)), axis=1)
    # Whoever is early in an order is late in its reverse: in pairs, the average was seen to vary a third as much.
    return np.concatenate([orders, orders[:, ::-1]])


def project_conflicts(gram: np.ndarray, orders: np.ndarray) -> np.ndarray:
    r"""PCGrad's projections, averaged over orders.

    For each i and each order: for j in that order, j ≠ i, if :math:`\langle v_i, \hat g_j\rangle < 0` then
    :math:`v_i \leftarrow v_i - \langle v_i, \hat g_j\rangle / \|\hat g_j\|^2 \, \hat g_j`.

    :param gram: float64 ``[L, L]``.
    :param orders: int64 ``[orders, L]``, a permutation of the languages a row.
    :returns: float64 ``[L, L]``: row i holds the coefficients of :math:`v_i`.
    """
    count = len(gram)
    averaged = np.eye(count)
    # Whoever conflicts with nobody stays as it is in every order; with many languages in harmony that is most of them.
    rows = np.flatnonzero((gram - np.diag(np.diagonal(gram)) < 0).any(1))
    if len(rows):
        step = max(1, BLOCK // (len(rows) * count))
        blocks = (orders[start : start + step] for start in range(0, len(orders), step))
        averaged[rows] = sum(_project_block(gram, rows, block) for block in blocks) / len(orders)
    return averaged


def _project_block(gram: np.ndarray, rows: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """The sum over some orders, all at once: float64 ``[rows, L]``."""
    count = len(gram)
    norms = np.diagonal(gram)
    block = np.arange(len(orders))
    # inner[o, i, j] = ⟨v_i, ĝ_j⟩ under order o, kept up to date beside the coefficients of v_i.
    inner = np.broadcast_to(gram[rows], (len(orders), len(rows), count)).copy()
    coefficients = np.broadcast_to(np.eye(count)[rows], inner.shape).copy()
    for j in orders.T:  # [orders]: whom each order projects away from in this step
        products = inner[block, :, j]  # [orders, rows]
        conflicts = (products < 0) & (norms[j] > 0)[:, None] & (rows != j[:, None])
        scale = np.where(conflicts, products, 0) / np.where(norms[j] > 0, norms[j], 1)[:, None]
        coefficients[block, :, j] -= scale
        inner -= scale[:, :, None] * gram[j][:, None, :]
    total: np.ndarray = coefficients.sum(0)
    return total
