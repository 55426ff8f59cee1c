"""What an engine gives back. Without torch: what takes it on to Redis has no other need of that."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gradients:
    """Compressed gradients of some pairs.

    A pair that the loss learns nothing of has a zero row. One whose gradient overflows has entries that are not finite,
    and so has one that is too long for the device even alone: ``out_of_memory`` says which.
    """

    values: np.ndarray  # float32 [pairs, D]
    out_of_memory: np.ndarray  # bool [pairs]
