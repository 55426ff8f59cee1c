"""What the routes show of a direction: lengths, and cosines before and after surgery."""

from dataclasses import dataclass

import numpy as np

from congrad_worker.decisions.consensus import Consensus


@dataclass(frozen=True)
class Geometry:
    """For L languages: ‖d‖; the norms of their gradients, float64 ``[L]``; what each counts, the length of its part
    of d with its sign, in shares of 1, float64 ``[L]``; and the cosines of each language gradient
    and of each de-conflicted one (rows) with each language gradient (columns), float32 ``[2, L, L]``."""

    norm: float
    norms: np.ndarray
    weights: np.ndarray
    cosines: np.ndarray


def geometry(direction: Consensus) -> Geometry:
    """That of a direction whose surgery has just been done."""
    assert direction.surgery is not None
    gram, coefficients = direction.gram, direction.surgery.deconflicted
    norms = np.sqrt(np.diagonal(gram))
    products = coefficients @ gram  # ⟨v_i, ĝ_j⟩
    lengths = np.sqrt(np.maximum(np.einsum("ij,ij->i", products, coefficients), 0.0))  # ‖v_i‖
    cosines = np.stack([_cosines(gram, norms, norms), _cosines(products, lengths, norms)])
    parts = direction.weights * norms
    weights = parts / max(np.abs(parts).sum(), np.finfo(np.float64).tiny)
    return Geometry(float(np.sqrt(max(direction.norm_squared, 0.0))), norms, weights, cosines.astype(np.float32))


def _cosines(products: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    scale = np.outer(rows, columns)
    cosines: np.ndarray = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    cosines.clip(-1, 1, out=cosines)
    return cosines
