r"""How well each sample agrees with the consensus, in inner products alone.

The direction is made of the samples that it judges: with n samples in each of L languages every one looks aligned by
chance alone, by about :math:`1/\sqrt{nL}`. So each sample's own share is taken out first. If sample i was folded into
its language l, now or in an earlier job, and has the share c in it, then

.. math::
    d_{-i} = d - w_l\,c\,g_i, \qquad \mathrm{alignment} = \cos(g_i, d_{-i}), \qquad
    \mathrm{conflict\ score} = -\mathrm{alignment}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from congrad.contract.wire import Reason

from congrad_worker.decisions.consensus import Consensus
from congrad_worker.decisions.direction import NO_GRADIENT, Folded, Samples
from congrad_worker.decisions.halves import Widened
from congrad_worker.decisions.rows.products import Proceed, Products, nothing

RELATIVE_ZERO = 1e-10
"""A squared norm this far below its parts is rounding: S is kept in float32."""

_MISSING = {norm: reason for reason, norm in NO_GRADIENT.items()}


@dataclass(frozen=True)
class Scores:
    """For n samples: conflict scores, float64 ``[n]`` (NaN where there is none), the reasons for those, and the
    languages whose gradients each sample's points away from."""

    conflict: np.ndarray
    reasons: list[Reason | None]
    conflicts_with: list[list[str]]


def score(
    samples: Samples,
    folded: Folded,
    direction: Consensus,
    proceed: Proceed = nothing,
    products: Products | None = None,
) -> Scores:
    """Scores the samples of a request against a direction that they may be part of.

    :param proceed: called between blocks of samples; what it raises ends the scoring.
    :param products: of the samples with the direction's languages, where they are known.
    """
    along, squares, away = _inner_products(samples, direction, proceed, products)
    position = {tag: index for index, tag in enumerate(direction.tags)}
    weights = direction.weights
    own = np.array([weights[position[tag]] if tag in position else 0.0 for tag in samples.languages])
    own = own * folded.shares  # w_l c
    rest = direction.norm_squared - 2 * own * along + own**2 * squares  # ‖d₋ᵢ‖²
    parts = direction.norm_squared + own**2 * squares
    exists = samples.usable & (rest > RELATIVE_ZERO * parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        alignment = (along - own * squares) / np.sqrt(squares * rest)
    conflict = np.where(exists, -np.clip(alignment, -1, 1), np.nan)
    return Scores(conflict, _reasons(samples, exists), _conflicts_with(samples, away, direction.tags))


def no_scores(samples: Samples) -> Scores:
    """The scores where there is no direction at all."""
    count = len(samples.norms)
    exists = np.zeros(count, dtype=bool)
    return Scores(np.full(count, np.nan), _reasons(samples, exists), [[] for _ in range(count)])


def _inner_products(
    samples: Samples, direction: Consensus, proceed: Proceed, products: Products | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """⟨g_i, d⟩ and ‖g_i‖², float64 ``[n]``, and whether ⟨g_i, ĝ_m⟩ < 0, bool ``[n, L]``; zero and no for samples
    without a usable gradient."""
    if products is None:
        along, squares, away = _computed(samples, direction, proceed)
    else:
        (along, away), squares = products.with_direction(direction), products.squares
    lengths = np.where(samples.usable, samples.norms, 0.0).astype(np.float64)  # what was multiplied are directions
    return along * lengths, squares * lengths**2, away & samples.usable[:, None]


def _computed(samples: Samples, direction: Consensus, proceed: Proceed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of unit gradients. The products with single languages, of which only the sign is looked at, are as many
    as there are languages, and in float32. A score is a small difference of large numbers."""
    count = len(samples.norms)
    along, squares = np.zeros(count), np.zeros(count)
    away = np.zeros((count, len(direction.tags)), dtype=np.bool_)
    towards, sums = direction.direction, direction.sums.T
    widened = Widened(samples.dim)
    for rows, block in samples.blocks(widened.rows):
        proceed()
        singles = widened.singles(block)
        np.less(singles @ sums, 0, out=away[rows])
        doubles = widened.doubles(singles)
        along[rows] = doubles @ towards
        squares[rows] = np.vecdot(doubles, doubles)
    return along, squares, away


def _reasons(samples: Samples, exists: np.ndarray) -> list[Reason | None]:
    def reason(norm: float, scored: bool) -> Reason | None:
        if scored:
            return None
        if norm in _MISSING:
            return _MISSING[norm]
        if not np.isfinite(norm):
            return Reason.NON_FINITE_GRADIENT
        return Reason.NO_DIRECTION if norm > 0 else Reason.ZERO_GRADIENT

    return [reason(norm, scored) for norm, scored in zip(samples.norms, exists, strict=True)]


def _conflicts_with(samples: Samples, away: np.ndarray, tags: Sequence[str]) -> list[list[str]]:
    return [
        [tag for tag in compress(tags, row) if tag != language]
        for language, row in zip(samples.languages, away.tolist(), strict=True)
    ]
