"""How language gradients become one direction, by name: what a request may ask for. The workers compute them."""

from typing import Literal

AggregatorName = Literal["pcgrad", "agreement", "mean", "aligned_mtl", "cagrad", "dualproj", "imtl_g", "mgda", "upgrad"]
"""The first three are the service's own, the others weightings of TorchJD's."""
