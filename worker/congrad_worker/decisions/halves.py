"""Half precision made single and double, exactly, block by block in memory that is used again.

NumPy's own conversion from float16 takes three times as long, and new memory for each block as long again: together
that would be most of what a score costs.
"""

import numpy as np

BLOCK = 2**17
"""Numbers of one block: half a MiB in single precision and one in double, which stay in a cache from one step to the
next."""

_MASK = np.int32(-0x70000001)
_SCALE = np.float32(2.0**112)


class Widened:
    """Room for blocks of rows.

    :param dim: D.
    """

    def __init__(self, dim: int):
        self.rows = max(1, BLOCK // dim)
        self._singles = np.empty((self.rows, dim), np.float32)
        self._doubles = np.empty((self.rows, dim), np.float64)

    def singles(self, block: np.ndarray) -> np.ndarray:
        """A block in float32 ``[rows, D]``, until the next one comes.

        :param block: float16 ``[rows, D]`` without infinities and NaN; or float32 already.
        """
        singles = self._singles[: len(block)]
        if block.dtype != np.float16:
            np.copyto(singles, block)
            return singles
        # Sign, exponent and mantissa go where a float32 has them. Its exponents begin 112 lower: that is a product,
        # which is exact, and makes what has no exponent in half precision (subnormal) a number with one.
        bits = singles.view(np.int32)
        np.copyto(bits, np.ascontiguousarray(block).view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _MASK, out=bits)
        return np.multiply(singles, _SCALE, out=singles)

    def doubles(self, singles: np.ndarray) -> np.ndarray:
        """What `singles` has just returned, in float64."""
        doubles = self._doubles[: len(singles)]
        np.copyto(doubles, singles)
        return doubles
