r"""What keeps the gradients of a layer's experts apart once they are added up.

Experts of one layer have one basis for each side, and :math:`Y_e` is expert e's product of the two sides. To sketch each
of them by itself would take signs for every entry of every expert, and a product for every pair and expert. Instead

.. math::
    Y = \sum_e \mathrm{diag}(u_e)\, Y_e\, \mathrm{diag}(v_e)
      = \sum_t (u_{e(t)} \circ P_\mathrm{out}^\top \delta_t)(v_{e(t)} \circ P_\mathrm{in}^\top a_t)^\top

with random signs u and v of each expert: one product over all routed tokens of a pair, as large as a dense layer's that had
so many. The entries of two experts meet with signs :math:`u_e u_{e'} v_e v_{e'}`, of which any two are independent; so inner
products stay right in the mean, and vary as much as under a sketch of each expert's own.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from congrad_worker.randomness import generator


class Separation(ABC):
    """How one stack of experts is kept apart."""

    @abstractmethod
    def apart(self, deltas: Tensor, activations: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
        """The two sides of a product over tokens that are each routed to one expert.

        :param deltas: ``[tokens, k_out]``.
        :param activations: ``[tokens, k_in]``.
        :param experts: whom each token is routed to, int64 ``[tokens]``.
        """

    @abstractmethod
    def merge(self, inner: Tensor) -> Tensor:
        """What the product over tokens would be, from the experts' own: ``[pairs, experts, k_out, k_in]`` to ``[pairs, ...]``."""


class ExpertSigns(Separation):
    """Random signs of each expert on both sides."""

    def __init__(
        self, seed: int, name: str, experts: int, sizes: tuple[int, int], device: torch.device, dtype: torch.dtype
    ):
        """:param sizes: k_out and k_in."""
        self._out, self._in = (
            torch.from_numpy(
                generator(seed, name, "experts", side, experts, size).integers(0, 2, (experts, size)) * 2 - 1
            ).to(device, dtype)
            for side, size in zip(("out", "in"), sizes, strict=True)
        )

    def apart(self, deltas: Tensor, activations: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
        if self._out.device != deltas.device:  # once, as with the basis of a side
            self._out, self._in = self._out.to(deltas.device), self._in.to(deltas.device)
        return deltas * self._out[experts], activations * self._in[experts]

    def merge(self, inner: Tensor) -> Tensor:
        out, into = (signs.to(inner) for signs in (self._out, self._in))
        return torch.einsum("peoi,eo,ei->poi", inner, out, into)


class ExpertBlocks(Separation):
    """A block of rows for each expert, which nothing is added up in: dear, and exact."""

    def __init__(self, experts: int):
        self._experts = experts

    def apart(self, deltas: Tensor, activations: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
        blocks = deltas.new_zeros(len(deltas), self._experts, deltas.shape[-1])
        blocks[torch.arange(len(deltas), device=deltas.device), experts] = deltas
        return blocks.flatten(1), activations

    def merge(self, inner: Tensor) -> Tensor:
        return inner.flatten(1, 2)
