"""Aggregators by name: order-free PCGrad, agreement, the plain mean, and TorchJD's weightings where it is installed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from congrad_worker.decisions.aggregation.agreement import agreement
from congrad_worker.decisions.aggregation.surgery import Aggregator, Surgery, mean, pcgrad
from congrad_worker.errors import WorkerError

OWN: dict[str, Aggregator] = {"pcgrad": pcgrad, "agreement": agreement, "mean": mean}

TORCHJD: dict[str, tuple[str, dict[str, Any]]] = {
    "aligned_mtl": ("AlignedMTLWeighting", {}),
    "cagrad": ("CAGradWeighting", {"c": 0.5}),
    "dualproj": ("DualProjWeighting", {}),
    "imtl_g": ("IMTLGWeighting", {}),
    "mgda": ("MGDAWeighting", {}),
    "upgrad": ("UPGradWeighting", {}),
}
"""Names of TorchJD's deterministic weightings of a Gramian, and their arguments. None depends on the size of the
Gramian, but for what its code takes to be zero: a trace of 1e-4, which short gradients have."""


def aggregator(name: str) -> Aggregator:
    """The aggregator of that name.

    :raises WorkerError: there is none, or it needs packages that are not installed.
    """
    if name in OWN:
        return OWN[name]
    if name not in TORCHJD:
        known = ", ".join([*OWN, *TORCHJD])
        raise WorkerError(f"CONGRAD_AGGREGATOR={name}: is unknown; known are {known}")
    class_name, arguments = TORCHJD[name]
    try:
        import torchjd.aggregation  # imports torch, which the other aggregators do without

        weighting = getattr(torchjd.aggregation, class_name)(**arguments)
    except ImportError as error:
        raise WorkerError(
            f"CONGRAD_AGGREGATOR={name} needs TorchJD ({error}): pip install 'congrad-filter[aggregators]'"
        ) from error
    return _from_torchjd(weighting)


def _from_torchjd(weighting: Callable[[Any], Any]) -> Aggregator:
    def aggregate(gram: np.ndarray, _: int) -> Surgery:
        import torch  # as above

        weights: np.ndarray = weighting(torch.from_numpy(_of_common_size(gram))).numpy()
        # These give one direction, not a de-conflicted gradient for each language: all rows are the same.
        return Surgery(weights, np.tile(weights, (len(gram), 1)))

    return aggregate


def _of_common_size(gram: np.ndarray) -> np.ndarray:
    """A Gram matrix whose trace is between 1 and 2, by a power of two, which rounds nothing."""
    _, exponent = np.frexp(np.trace(gram))
    scaled: np.ndarray = np.ldexp(gram, 1 - exponent)
    return scaled
