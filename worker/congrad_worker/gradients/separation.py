r"""What keeps the gradients of a layer's experts apart once they are added up.

The experts of a layer have one basis for each side; let :math:`Y_e` be expert e's product of the two sides. A sketch
of each would take signs for every entry of every expert, and a product for every pair and expert. Instead

.. math::
    Y = \sum_e \mathrm{diag}(u_e)\, Y_e\, \mathrm{diag}(v_e)
      = \sum_t (u_{e(t)} \circ P_\mathrm{out}^\top \delta_t)(v_{e(t)} \circ P_\mathrm{in}^\top a_t)^\top

with random signs u and v of each expert: one product over all routed tokens of a pair, and then the sketch of a dense
layer. Entry (i, j) of expert e meets that of expert e' with the sign :math:`u_{ei} u_{e'i} v_{ej} v_{e'j}`. Its
mean is 0, and so is the mean of the product of any two of these signs: inner products stay true in the mean, and vary
as if each entry of each expert had a sign of its own.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from congrad_worker.randomness import generator


class Separation(ABC):
    """How the experts of one layer are kept apart."""

    @abstractmethod
    def apart(self, deltas: Tensor, activations: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
        """The two sides of the product over slots: tokens, each of them once for every expert that it is routed to.

        :param deltas: ``[slots, k_out]``.
        :param activations: ``[slots, k_in]``.
        :param experts: whom each slot belongs to, int64 ``[slots]``.
        """

    @abstractmethod
    def merge(self, inner: Tensor) -> Tensor:
        """The product over slots, from the products of each expert's own.

        :param inner: ``[pairs, experts, k_out, k_in]``.
        :returns: ``[pairs, n, k_in]``.
        """


class ExpertSigns(Separation):
    """Random signs of each expert on both sides: u and v.

    :param sizes: k_out and k_in.
    """

    def __init__(
        self, seed: int, name: str, experts: int, sizes: tuple[int, int], device: torch.device, dtype: torch.dtype
    ):
        self._signs: list[Tensor] = []
        for side, size in zip(("out", "in"), sizes, strict=True):
            drawn = generator(seed, name, "experts", side, experts, size).integers(0, 2, (experts, size))
            self._signs.append(torch.from_numpy(2 * drawn - 1).to(device, dtype))

    def apart(self, deltas: Tensor, activations: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
        if self._signs[0].device != experts.device:  # once, as the basis of a side
            self._signs = [signs.to(experts.device) for signs in self._signs]
        on_deltas, on_activations = self._signs
        return deltas * on_deltas[experts], activations * on_activations[experts]

    def merge(self, inner: Tensor) -> Tensor:
        return torch.einsum("peoi,eo,ei->poi", inner, *(signs.to(inner) for signs in self._signs))


class ExpertBlocks(Separation):
    """Rows of each expert's own, in which nothing is added up: exact, and dear."""

    def __init__(self, experts: int):
        self._experts = experts

    def apart(self, deltas: Tensor, activations: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
        rows = deltas.new_zeros(len(deltas), self._experts, deltas.shape[-1])
        rows[torch.arange(len(deltas), device=experts.device), experts] = deltas
        return rows.flatten(1), activations

    def merge(self, inner: Tensor) -> Tensor:
        return inner.flatten(1, 2)
