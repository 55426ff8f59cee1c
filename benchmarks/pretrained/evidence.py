"""What is known of the pairs under one checkpoint: the inner products of their gradients, for each loss and choice of
layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.pretrained.cache import Parted, cached, completions
from benchmarks.pretrained.pairs import Pairs
from benchmarks.pretrained.parts import LAYERS, parts_in

ALL_LAYERS = next(iter(LAYERS))
SIGMOID = "sigmoid"
ALPHA = 0.5
"""Of LD-DPO."""

Combine = Callable[[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray], np.ndarray]
"""From gradients of log π(chosen), log π(rejected) and log π of the cut longer completion, each ``[n, D]``, and the
lengths, ``[n, 2]``, to those of a loss, up to a factor of each pair's own."""


def _sigmoid(chosen: np.ndarray, rejected: np.ndarray, _: np.ndarray | None, __: np.ndarray) -> np.ndarray:
    return np.asarray(rejected - chosen)


def _per_token(chosen: np.ndarray, rejected: np.ndarray, _: np.ndarray | None, lengths: np.ndarray) -> np.ndarray:
    return np.asarray(rejected / lengths[:, 1:] - chosen / lengths[:, :1])


def _desensitised(chosen: np.ndarray, rejected: np.ndarray, cut: np.ndarray | None, lengths: np.ndarray) -> np.ndarray:
    assert cut is not None
    is_chosen = (lengths[:, 0] > lengths[:, 1])[:, None]  # the longer one
    longer = ALPHA * np.where(is_chosen, chosen, rejected) + (1 - ALPHA) * cut
    return np.where(is_chosen, rejected - longer, longer - chosen)


LOSSES: dict[str, Combine] = {
    SIGMOID: _sigmoid,
    "sigmoid_norm, simpo": _per_token,
    f"sigmoid, ld_alpha {ALPHA:g}": _desensitised,
}
"""Where the reference is the policy. simpo's gradient has the direction of sigmoid_norm's, and γ only its length."""


@dataclass(frozen=True)
class Gradients:
    """Gradients of completions, from which those of losses are made. ``cut`` is there if it was asked for."""

    chosen: Parted
    rejected: Parted
    cut: Parted | None
    lengths: np.ndarray

    def of(self, loss: str = SIGMOID, layers: str = ALL_LAYERS) -> np.ndarray:
        """Of the pairs: float32 ``[n, D]``."""
        parts = parts_in(layers)
        chosen, rejected = self.chosen.gradients(parts), self.rejected.gradients(parts)
        cut = None if self.cut is None else self.cut.gradients(parts)
        return LOSSES[loss](chosen, rejected, cut, self.lengths).astype(np.float32)


def gradients(cache: Path, model: Path, pairs: Pairs, with_cut: bool, **options: object) -> Gradients:
    """Those that the cache holds, and the others computed."""
    sequences = completions(pairs.encoded)
    kinds: Sequence[str] = ["chosen", "rejected", *(["cut"] if with_cut else [])]
    # In one call: the checkpoint is loaded once.
    found = cached(cache, model, [one for kind in kinds for one in sequences[kind]], **options)
    count = len(pairs.encoded)
    parts = [Parted(found.units[i * count :][:count], found.norms[i * count :][:count]) for i in range(len(kinds))]
    return Gradients(parts[0], parts[1], parts[2] if with_cut else None, pairs.lengths)


def gram(values: np.ndarray) -> np.ndarray:
    """⟨g_i, g_j⟩: float64 ``[n, n]``."""
    wide = values.astype(np.float64)
    products: np.ndarray = wide @ wide.T
    return products
