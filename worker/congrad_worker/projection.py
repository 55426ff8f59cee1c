r"""Compression of per-sample gradients: linear, fixed, and true to inner products.

The gradient of linear layer m is :math:`G_m = \sum_t \delta_t a_t^\top`. It is never formed:

.. math::
    Y_m = P_\mathrm{out}^\top G_m P_\mathrm{in}
        = \sum_t (P_\mathrm{out}^\top \delta_t)(P_\mathrm{in}^\top a_t)^\top, \qquad
    z = \mathrm{sketch}(\mathrm{concat}_m Y_m) \in \mathbb{R}^D

``P`` has random orthonormal columns times :math:`\sqrt{d/k}`, so :math:`E[PP^\top] = I`; the count sketch adds each
entry of Y, with a random sign, to one random entry of z. Both keep inner products in the mean:
:math:`E\langle z, z'\rangle = \langle g, g'\rangle`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from congrad_worker.randomness import generator

Side = Literal["in", "out"]


def orthonormal(seed: int, module: str, side: Side, dim: int, rank: int) -> np.ndarray:
    r"""A basis of one side of a module: orthonormal columns times :math:`\sqrt{d/k}`, Haar distributed.

    :returns: float32, ``[dim, min(rank, dim)]``.
    """
    rank = min(rank, dim)
    gaussian = generator(seed, module, side, dim, rank).standard_normal((dim, rank))
    basis, triangle = np.linalg.qr(gaussian)
    # LAPACK is free to choose the signs of R's diagonal; fixing them makes the basis unique, and Haar.
    basis *= np.sign(np.diagonal(triangle))
    scaled: np.ndarray = (basis * np.sqrt(dim / rank)).astype(np.float32)
    return scaled


@dataclass(frozen=True)
class LinearShape:
    """The sizes of one linear layer's weight."""

    d_in: int
    d_out: int


class ModuleProjection:
    """What happens to the gradient of one module: two small products, then its share of the sketch."""

    def __init__(
        self,
        basis_in: Tensor | None,
        basis_out: Tensor | None,
        buckets: Tensor | None,
        signs: Tensor | None,
        offset: int,
    ):
        self._basis_in = basis_in  # [d_in, k]; None for the identity
        self._basis_out = basis_out  # [d_out, k]; None for the identity
        self._buckets = buckets  # [k_out * k_in] positions in z; None where nothing is sketched
        self._signs = signs  # [k_out * k_in]
        self._offset = offset  # where an unsketched gradient starts in z

    def project_in(self, activations: Tensor) -> Tensor:
        """``[..., d_in]`` to ``[..., k_in]``."""
        return activations if self._basis_in is None else activations @ self._basis_in

    def project_out(self, output_gradients: Tensor) -> Tensor:
        """``[..., d_out]`` to ``[..., k_out]``."""
        return output_gradients if self._basis_out is None else output_gradients @ self._basis_out

    def accumulate(self, target: Tensor, inner: Tensor) -> None:
        """Adds this module's part to the compressed gradients.

        :param target: float32, ``[pairs, D]``.
        :param inner: float32, ``[pairs, k_out, k_in]``: Y of the equation above.
        """
        flat = inner.flatten(1)  # [pairs, k_out * k_in]
        if self._buckets is None or self._signs is None:
            target[:, self._offset : self._offset + flat.shape[1]] += flat
        else:
            target.index_add_(1, self._buckets, flat * self._signs)


class Projection:
    """The projections of all target modules of one checkpoint.

    :param kind: ``kronecker``, ``flora`` (``P_out`` is the identity), or ``exact`` (both are, and no sketch).
    :param shapes: the target modules by name, in the model's order.
    :param rank: k; a side with fewer dimensions keeps them all.
    :param dim: D; ignored by ``exact``, whose D is the number of parameters.
    """

    def __init__(
        self,
        kind: Literal["kronecker", "flora", "exact"],
        shapes: Mapping[str, LinearShape],
        rank: int,
        dim: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ):
        self.dim = dim if kind != "exact" else sum(s.d_in * s.d_out for s in shapes.values())
        self._modules: dict[str, ModuleProjection] = {}
        offset = 0
        for name, shape in shapes.items():
            basis_in = orthonormal(seed, name, "in", shape.d_in, rank) if kind != "exact" else None
            basis_out = orthonormal(seed, name, "out", shape.d_out, rank) if kind == "kronecker" else None
            size = _columns(basis_in, shape.d_in) * _columns(basis_out, shape.d_out)
            buckets, signs = _sketch(seed, name, size, dim) if kind != "exact" else (None, None)
            self._modules[name] = ModuleProjection(
                _tensor(basis_in, device, dtype),
                _tensor(basis_out, device, dtype),
                _tensor(buckets, device, torch.int64),
                _tensor(signs, device, torch.float32),
                offset,
            )
            offset += size

    def __getitem__(self, module: str) -> ModuleProjection:
        return self._modules[module]


def _columns(basis: np.ndarray | None, dim: int) -> int:
    return dim if basis is None else int(basis.shape[1])


def _sketch(seed: int, module: str, size: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """A bucket in [0, dim) and a sign for each entry of a module's Y."""
    draw = generator(seed, module, "sketch", size, dim)
    return draw.integers(0, dim, size), draw.choice(np.array([-1.0, 1.0], dtype=np.float32), size)


def _tensor(array: np.ndarray | None, device: torch.device, dtype: torch.dtype) -> Tensor | None:
    return None if array is None else torch.from_numpy(array).to(device, dtype)
