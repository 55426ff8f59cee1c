r"""Languages weighed by how far they agree with the others. Ours: it has no source.

Surgery gives every language a veto: where two pull apart, each gives up what the other minds. A language whose labels
are bad keeps it. Here a language counts by its agreement with those that agree with each other.
"""

import numpy as np

from congrad_worker.decisions.aggregation.surgery import Surgery

STILL = 1e-12
"""No weight moves by more than this: the end. Of two equal camps the sums are equal to rounding, and neither wins."""

PLAIN, STEPS = 64, 2000
"""Steps that are taken whole, and in all. Where the plain iteration goes to and fro, as it does if a language agrees
with others that do not agree among themselves, half steps lead to the same fixed point."""


def agreement(gram: np.ndarray, _: int) -> Surgery:
    r"""The direction of those who agree: :math:`d = \sum_l u_l\, \hat g_l / \|\hat g_l\|`, :math:`\sum_l u_l = 1`.

    On the matrix C of cosines between languages, from equal u, until nothing moves:

    .. math:: s = C u - u, \qquad u \leftarrow \max(s, 0) / \sum_l \max(s_l, 0)

    A language has no vote on itself, and no weight below 0. Where nobody agrees with anybody, all that have a gradient
    count alike. No order of languages matters, nor do their norms.

    :param gram: float64 ``[L, L]``.
    """
    norms = np.sqrt(np.diagonal(gram))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    others = gram * np.outer(inverse, inverse)  # cosines
    np.fill_diagonal(others, 0.0)
    weights = _fixed_point(others, (norms > 0).astype(np.float64)) * inverse
    # One direction, not a de-conflicted gradient for each language: all rows are the same.
    return Surgery(weights, np.tile(weights, (len(gram), 1)))


def _fixed_point(others: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """u, float64 ``[L]``.

    :param others: cosines, with zeros on the diagonal.
    :param exists: 1 where a language has a gradient, 0 where it has none.
    """
    alike: np.ndarray = exists / max(exists.sum(), 1.0)
    weights = alike
    for step in range(STEPS):
        positive = np.maximum(others @ weights, 0.0)
        total = positive.sum()
        following = positive / total if total > 0 else alike
        if np.abs(following - weights).max() <= STILL:
            break
        weights = following if step < PLAIN else (weights + following) / 2
    return weights
