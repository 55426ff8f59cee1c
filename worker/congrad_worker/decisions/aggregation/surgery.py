r"""Gradient surgery in the Gram matrix: language gradients in, the weights of the consensus direction out.

All of it needs inner products only: with :math:`K_{ij} = \langle\hat g_i, \hat g_j\rangle` a direction
:math:`d = \sum_l w_l \hat g_l` is its weights, and :math:`\langle d, \hat g_j\rangle = (wK)_j`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np

from congrad_worker.randomness import generator

EXACT = 6
"""Up to so many languages PCGrad is averaged over every order: (L - 1)! for a language, as it does not meet itself."""

ORDERS = 2000
"""Beyond that, about so many orders in all are drawn. The more languages there are, the fewer each needs: the direction
is the mean of all languages' gradients, and these have orders of their own, so that their errors cancel. Against 4,096
orders for each, 1 - cos was at most 2e-6 for 10 languages and 3e-4 for 200 that pull two ways."""

FEWEST_ORDERS, MOST_ORDERS = 8, 96
"""Of one language."""

BLOCK = 512
"""Chains of projections that are computed together: what they need stays in a core's cache."""


@dataclass(frozen=True)
class Surgery:
    r"""What came out of surgery, for L languages.

    ``deconflicted`` is float64 ``[L, L]``: row i holds the coefficients of language i's de-conflicted gradient
    :math:`v_i = \sum_j c_{ij} \hat g_j`. ``weights`` is float64 ``[L]``, the mean of its rows: the direction.
    ``orders`` counts the orders that each language's row was averaged over; 1 where none matters.
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
    does not depend on any. Up to `EXACT` languages all are taken; beyond that, some for each language from ``seed``,
    applied to the languages sorted by norm, so that names and positions have no say.
    """
    canonical = np.lexsort((gram.sum(1), np.diagonal(gram)))
    coefficients, orders = _deconflicted(gram[np.ix_(canonical, canonical)], seed)
    deconflicted = np.empty_like(coefficients)
    deconflicted[np.ix_(canonical, canonical)] = coefficients
    return Surgery(deconflicted.mean(0), deconflicted, orders)


def _deconflicted(gram: np.ndarray, seed: int) -> tuple[np.ndarray, int]:
    count = len(gram)
    averaged = np.eye(count)
    # Whoever conflicts with nobody stays as it is in every order; with many languages in harmony that is most of them.
    conflicting = np.any(gram - np.diag(np.diagonal(gram)) < 0, axis=1)
    if not conflicting.any():
        return averaged, 1
    languages, others = _chains(count, seed)
    chosen = np.flatnonzero(conflicting[languages])
    orders = len(languages) // count
    for start in range(0, len(chosen), BLOCK):
        part = chosen[start : start + BLOCK]
        averaged += project_conflicts(gram, languages[part], others[:, part]) / orders
    return averaged, orders


@lru_cache(maxsize=4)  # drawing costs as much as projecting
def _chains(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each language with the orders in which it meets the others: int64 ``[chains]``, and ``[L - 1, chains]``.

    Every language has as many orders.
    """
    if count <= EXACT:
        orders = np.array(list(permutations(range(count - 1))), dtype=np.int64)
        orders = np.tile(orders, (count, 1))
    else:
        each = min(max(ORDERS // count, FEWEST_ORDERS), MOST_ORDERS) // 2
        draw = generator(seed, "surgery", count)
        orders = draw.permuted(np.tile(np.arange(count - 1), (count * each, 1)), axis=1)
        # Whoever is early in an order is late in its reverse: in pairs, the average was seen to vary a third as much.
        orders = np.stack([orders, orders[:, ::-1]], axis=1).reshape(2 * len(orders), -1)
    languages = np.repeat(np.arange(count), len(orders) // count)
    # Positions among the others become positions among all.
    return languages, np.ascontiguousarray((orders + (orders >= languages[:, None])).T)


def project_conflicts(gram: np.ndarray, languages: np.ndarray, others: np.ndarray) -> np.ndarray:
    r"""PCGrad's projections: what they add to the coefficients, summed over chains.

    For each chain, with i its language: for j in its order, if :math:`\langle v_i, \hat g_j\rangle < 0` then
    :math:`v_i \leftarrow v_i - \langle v_i, \hat g_j\rangle / \|\hat g_j\|^2 \, \hat g_j`.

    :param gram: float64 ``[L, L]``.
    :param languages: whose gradient each chain projects, int64 ``[chains]``.
    :param others: the languages that it meets, in their order: int64 ``[steps, chains]``.
    :returns: float64 ``[L, L]``: in row i, the coefficients of :math:`v_i - \hat g_i`.
    """
    count = len(gram)
    norms = np.diagonal(gram)
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)[others]  # none points away from zero
    # Whole rows, though a chain will not meet all of them again: to pick single numbers takes longer.
    inner = gram.take(languages, axis=0)  # ⟨v_i, ĝ_j⟩ for all j, kept up to date: [chains, L]
    products, flat = np.empty_like(inner), inner.ravel()
    places = np.arange(0, len(flat), count) + others
    scales = np.empty(others.shape)
    for step, j in enumerate(others):
        scale = np.minimum(flat.take(places[step]), 0, out=scales[step])
        scale *= inverse[step]
        gram.take(j, axis=0, out=products, mode="clip")  # all are within; without it NumPy copies twice
        products *= scale[:, None]
        inner -= products
    added = np.bincount((languages * count + others).ravel(), weights=scales.ravel(), minlength=count * count)
    return -added.reshape(count, count)
