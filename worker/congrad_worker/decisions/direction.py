r"""The running direction: a decayed mean of gradients for each language.

For a request that brings n samples of a language with mean :math:`\bar g`, and half-life h in samples,

.. math::
    \rho = 2^{-n/h}, \quad a = (1-\rho)\,h/\ln 2, \quad S \leftarrow \rho S + a\bar g, \quad W \leftarrow \rho W + a,
    \quad \hat g = S/W

W is the effective number of samples: there is no bias toward a zero start, and h = ∞ is the plain mean (a = n).
The paper's :math:`\hat g \leftarrow \gamma\hat g + (1-\gamma)g` with mini-batches of b samples is
:math:`h = b\ln 2/(-\ln\gamma)`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from congrad.contract.wire import Reason

from congrad_worker.decisions.halves import Widened

RECENT = 4096
"""Conflict scores kept for each language, for selection within the stream."""


Number = TypeVar("Number", float, np.ndarray)

NO_GRADIENT: dict[Reason, float] = {
    Reason.OUT_OF_MEMORY: -1.0,
    Reason.PROMPT_TOO_LONG: -2.0,
    Reason.TEMPLATE_REFUSED: -3.0,
}
"""The norms of samples without a gradient, by why there is none; no gradient has them."""


@dataclass(frozen=True)
class LanguageState:
    """The running gradient of one language.

    ``total`` is S, float32 ``[D]``; ``weight`` is W; ``samples`` counts what was folded in; ``recent`` holds the latest
    conflict scores, float32, oldest first.
    """

    total: np.ndarray
    weight: float
    samples: int
    recent: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def gradient(self) -> np.ndarray:
        """ĝ = S/W, float64 ``[D]``."""
        return self.total.astype(np.float64) / self.weight


@dataclass(frozen=True)
class Samples:
    """The gradients of one request: directions and lengths apart, so that half precision loses no range.

    ``units`` is float16 ``[n, D]`` with rows of norm 1, or zero where a gradient is zero or not finite; ``norms`` is
    float32 ``[n]`` and says which; ``languages`` is of length n.
    """

    units: np.ndarray
    norms: np.ndarray
    languages: Sequence[str]

    @classmethod
    def of(
        cls, gradients: np.ndarray, languages: Sequence[str], missing: Mapping[int, Reason] | None = None
    ) -> "Samples":
        """From gradients as they are, float32 ``[n, D]``; ``missing`` says which of them there are not, and why."""
        # In float64 no finite float32 gradient has an infinite norm.
        norms = np.array([np.linalg.norm(row.astype(np.float64)) for row in gradients])
        scale = np.where(np.isfinite(norms) & (norms > 0), norms, 1.0)
        units = np.where(np.isfinite(norms)[:, None], gradients / scale[:, None], 0.0)
        for row, reason in (missing or {}).items():
            units[row], norms[row] = 0.0, NO_GRADIENT[reason]
        return cls(units.astype(np.float16), norms.astype(np.float32), languages)

    @property
    def usable(self) -> np.ndarray:
        """Which samples have a finite gradient other than zero: bool ``[n]``. Only these are folded in."""
        usable: np.ndarray = np.isfinite(self.norms) & (self.norms > 0)
        return usable

    @property
    def dim(self) -> int:
        """D."""
        return int(self.units.shape[1])

    def halves(self, rows: np.ndarray) -> np.ndarray:
        """The directions of some samples, float16 ``[rows, D]``, or of one, ``[D]``."""
        halves: np.ndarray = self.units[rows]
        return halves

    def blocks(self, most: int) -> Iterator[tuple[slice, np.ndarray]]:
        """The directions of all samples in their order, at most so many at a time: which these are, and theirs."""
        for start in range(0, len(self.norms), most):
            yield slice(start, min(start + most, len(self.norms))), self.units[start : start + most]

    def gradients(self, rows: np.ndarray) -> np.ndarray:
        """Gradients of some samples, float64 ``[rows, D]``, or of one, ``[D]``."""
        gradients: np.ndarray = self.halves(rows).astype(np.float64)
        gradients *= self.norms[rows, ..., None].astype(np.float64)
        return gradients


@dataclass(frozen=True)
class Stake:
    """What each of a request's samples brought to its language: ``amount`` (a/n) times g_i in S, when ``samples`` had
    been folded in, these included."""

    samples: int
    amount: float


@dataclass(frozen=True)
class Folded:
    """Language states after a request, the share c that each of its samples has in its language, ``[n]``, and the
    stakes from which the shares can be told later."""

    languages: dict[str, LanguageState]
    shares: np.ndarray
    stakes: dict[str, Stake]


def unfolded(
    languages: Mapping[str, LanguageState],
    samples: Samples,
    stakes: Mapping[str, Stake],
    half_life: float,
    chosen: np.ndarray | None = None,
) -> Folded:
    r"""The states as they stand, and what is left in them of samples that were folded in earlier.

    With m samples of the language folded in since, :math:`c = 2^{-m/h}\,(a/n)/W`. Without a stake c is 0.

    :param stakes: of languages that the states have, in the same life of the direction.
    :param chosen: the samples that have them, bool ``[n]``; all, unless it is given.
    """
    shares = np.zeros(len(samples.norms))
    tags = np.array(samples.languages)
    has_stake = samples.usable if chosen is None else samples.usable & chosen
    for tag, stake in stakes.items():
        state = languages[tag]
        share = left(state.samples - stake.samples, half_life) * stake.amount / state.weight
        shares[(tags == tag) & has_stake] = share
    return Folded(dict(languages), shares, dict(stakes))


def fold(
    languages: Mapping[str, LanguageState], samples: Samples, half_life: float, chosen: np.ndarray | None = None
) -> Folded:
    """Folds usable samples into their languages' states: those ``chosen``, bool ``[n]``, or all."""
    states, stakes = dict(languages), dict[str, Stake]()
    shares = np.zeros(len(samples.norms))
    tags = np.array(samples.languages)
    new = samples.usable if chosen is None else samples.usable & chosen
    sums = _sums(samples, new)
    for tag in sorted(sums):
        rows = np.flatnonzero((tags == tag) & new)
        decay, amount = left(len(rows), half_life), _brought(len(rows), half_life)
        total = amount * (sums.pop(tag) / len(rows))
        weight, count, recent = amount, len(rows), np.zeros(0, np.float32)
        if (old := states.get(tag)) is not None:
            total += decay * old.total.astype(np.float64)
            weight, count, recent = weight + decay * old.weight, count + old.samples, old.recent
        states[tag] = LanguageState(total.astype(np.float32), weight, count, recent)
        stakes[tag] = Stake(count, amount / len(rows))
        shares[rows] = stakes[tag].amount / weight
    return Folded(states, shares, stakes)


def left(count: Number, half_life: float) -> Number:
    """ρ: what ``count`` samples leave of an old one."""
    remains: Number = 2.0 ** (-count / half_life)  # 1 where the half-life is infinite
    return remains


def _brought(count: int, half_life: float) -> float:
    """a, for ``count`` samples."""
    if math.isinf(half_life):
        return float(count)
    # expm1 keeps the digits of 1 − ρ where the half-life is long.
    return -math.expm1(-count * math.log(2) / half_life) * half_life / math.log(2)


def _sums(samples: Samples, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """The sums of some samples' gradients by language, float64 ``[D]``. In the order of the samples, which may have to
    be read, and one at a time: the exact gradients of a real model do not fit in memory twice."""
    sums: dict[str, np.ndarray] = {}
    widened = Widened(samples.dim)
    for rows, block in samples.blocks(widened.rows):
        own = np.flatnonzero(chosen[rows])
        if not len(own):
            continue
        doubles = widened.doubles(widened.singles(block))
        for place in own.tolist():
            gradient = doubles[place]
            gradient *= float(samples.norms[rows.start + place])
            tag = samples.languages[rows.start + place]
            if tag not in sums:
                sums[tag] = np.zeros(samples.dim)
            sums[tag] += gradient
    return sums
