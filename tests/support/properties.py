"""Named mathematical properties."""

from collections.abc import Callable

import numpy as np


def relative_error(value: np.ndarray, truth: np.ndarray) -> float:
    """‖value − truth‖ / ‖truth‖."""
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of the angle between two vectors."""
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def assert_rows_match(values: np.ndarray, truths: np.ndarray, tolerance: float) -> None:
    """Every row equals its truth to a relative error."""
    errors = [relative_error(value, truth) for value, truth in zip(values, truths, strict=True)]
    assert max(errors) <= tolerance, errors


def conflicting_gradients(count: int, dim: int, seed: int, strength: float = 0.6) -> np.ndarray:
    """Language gradients of unequal norms, about half of them in conflict: float64 ``[count, dim]``."""
    draw = np.random.default_rng(seed)
    shared = draw.standard_normal(dim)
    signs = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    noise = draw.standard_normal((count, dim))
    scales = draw.uniform(0.5, 2.0, (count, 1))
    return scales * (strength * signs[:, None] * shared + noise)


def assert_order_free(weigh: Callable[[np.ndarray], np.ndarray], gradients: np.ndarray) -> None:
    """The direction is the same in whatever order the languages stand: float64 ``[L, D]``."""
    direction = weigh(gradients @ gradients.T) @ gradients
    for seed in range(5):
        shuffled = gradients[np.random.default_rng(seed).permutation(len(gradients))]
        again = weigh(shuffled @ shuffled.T) @ shuffled
        assert cosine(direction, again) >= 0.999999
