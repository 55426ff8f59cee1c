r"""Compression of per-sample gradients: linear, fixed, and true to inner products.

The gradient of linear layer m is :math:`G_m = \sum_t \delta_t a_t^\top`. It is never formed:

.. math::
    Y_m = P_\mathrm{out}^\top G_m P_\mathrm{in}
        = \sum_t (P_\mathrm{out}^\top \delta_t)(P_\mathrm{in}^\top a_t)^\top \in \mathbb{R}^{k \times k}, \qquad
    z = \sum_m \mathrm{sketch}_m(Y_m) \in \mathbb{R}^D

The sketch adds each entry of Y, with a random sign, to one entry of z. Both stages keep inner products in the mean:
:math:`E\langle z, z'\rangle = \langle g, g'\rangle`. The first errs by about :math:`1/\sqrt k` on every near-rank-one
part of a gradient, whatever D is; so k is large, D = k² by default, and a basis is made cheap instead: it is
block-diagonal, with entries ±1. `docs/benchmarks/fidelity.md` has the figures that the defaults were chosen from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from congrad_worker.gradients.separation import ExpertBlocks, ExpertSigns, Separation
from congrad_worker.randomness import generator

SideName = Literal["in", "out"]

BLOCKS = 16
"""Blocks of a basis at most. More cost less and mix less."""


@dataclass(frozen=True)
class LinearShape:
    """The sizes of one linear layer's weight, or of the weights of a layer's experts."""

    d_in: int
    d_out: int
    experts: int | None = None

    @property
    def weights(self) -> int:
        """How many numbers they are."""
        return self.d_in * self.d_out * (1 if self.experts is None else self.experts)


def block_signs(seed: int, module: str, side: SideName, dim: int, rank: int) -> np.ndarray:
    r"""One block W of a basis :math:`P = \mathrm{blockdiag}(W, \dots, W) / \sqrt c`, c = rank / blocks columns each.

    The columns of W are those of a Hadamard matrix whose rows are chosen, shuffled and given signs at random: they are
    orthogonal where W has a power of two of rows, and nearly so elsewhere. :math:`E[PP^\top] = I`, and all rows have
    one length, so that a coordinate with outliers keeps their weight. One W for all blocks makes the projection one
    product of matrices; on real gradients it errs no more than one for each.

    :returns: int8, ``[dim / blocks, c]``: entries ±1.
    """
    blocks = int(np.gcd.reduce((dim, rank, BLOCKS)))
    rows, columns = dim // blocks, rank // blocks
    size = 1 << (rows - 1).bit_length()  # of the Hadamard matrix; rank < dim, so its columns suffice
    draw = generator(seed, module, side, dim, rank)
    order = draw.permutation(size)[:rows, None]
    signs = draw.choice(np.array([-1, 1], dtype=np.int8), (rows, 1))
    parity = np.bitwise_count(order & np.arange(columns)) & 1
    hadamard: np.ndarray = (1 - 2 * parity.astype(np.int8)) * signs
    return hadamard


def orthonormal(seed: int, module: str, side: SideName, dim: int, rank: int) -> np.ndarray:
    r"""A dense basis of one side of a module: orthonormal columns times :math:`\sqrt{d/k}`, Haar distributed.

    :returns: float32, ``[dim, rank]``.
    """
    gaussian = generator(seed, module, side, dim, rank).standard_normal((dim, rank))
    basis, triangle = np.linalg.qr(gaussian)
    # LAPACK is free to choose the signs of R's diagonal; fixing them makes the basis unique, and Haar.
    basis *= np.sign(np.diagonal(triangle))
    scaled: np.ndarray = (basis * np.sqrt(dim / rank)).astype(np.float32)
    return scaled


class Side:
    """The basis of one side of a module, or the identity.

    :param size: k, the dimensions that are left.
    :param block: what all blocks of the basis are, ``[dim / blocks, size / blocks]``; None for the identity.
    :param row_length: of the rows of ``block``, which the sketch makes up for; those of the identity have length 1.
    """

    def __init__(self, size: int, block: Tensor | None = None, row_length: float = 1.0):
        self.size = size
        self.row_length = row_length
        self._block = block

    def project(self, vectors: Tensor) -> Tensor:
        """``[..., dim]`` to ``[..., size]``, where the vectors are."""
        if self._block is None:
            return vectors
        if self._block.device != vectors.device:  # once: the modules of a side are in one layer
            self._block = self._block.to(vectors.device)
        # An adapter's layers may compute in another dtype than the model.
        blocks = vectors.to(self._block.dtype).reshape(-1, self._block.shape[0])
        return (blocks @ self._block).view(*vectors.shape[:-1], self.size)


class ModuleProjection:
    """What happens to the gradient of one module: a small product of its two sides, then its share of the sketch.

    :param slots: positions in z of the product's entries, ``[k_out * k_in]``; None where these fill z in order, or,
        unsketched, begin at ``offset``.
    :param signs: their signs, times what makes up for the lengths of rows; None for 1.
    :param separation: what keeps experts apart, where there are any.
    """

    def __init__(
        self,
        side_in: Side,
        side_out: Side,
        slots: Tensor | None = None,
        signs: Tensor | None = None,
        offset: int = 0,
        separation: Separation | None = None,
    ):
        self.side_in = side_in
        self.project_in = side_in.project
        self.project_out = side_out.project
        self._slots = slots
        self.signs = signs
        self._offset = offset
        self.separation = separation

    @property
    def fills_in_order(self) -> bool:
        """Whether its entries are as many as those of z, with a sign for each."""
        return self._slots is None and self.signs is not None

    def compress(self, target: Tensor, gradients: Tensor) -> None:
        """Adds gradients that are at hand whole to their rows, float32 ``[pairs, D]``.

        :param gradients: ``[pairs, d_out, d_in]``, of experts ``[pairs, experts, d_out, d_in]``.
        """
        inner = self.project_out(self.project_in(gradients).mT.contiguous()).mT  # [pairs, ..., k_out, k_in]
        self.add(target, inner.float() if self.separation is None else self.separation.merge(inner.float()))

    def add(self, target: Tensor, inner: Tensor) -> None:
        """Adds this module's part to the compressed gradients.

        :param target: float32, ``[pairs, D]``.
        :param inner: Y of each pair, Σ_t of the two sides' projections: float32 ``[pairs, k_out, k_in]``.
        """
        flat = inner.flatten(1).to(target.device)  # [pairs, k_out * k_in]
        if self.signs is None:
            target[:, self._offset : self._offset + flat.shape[1]] += flat
        elif self._slots is None:
            target.addcmul_(flat, self.signs)
        else:
            target.index_add_(1, self._slots, flat * self.signs)


class Projection:
    """The projections of all target modules of one checkpoint.

    :param kind: ``kronecker``; ``flora``, where ``P_out`` is the identity and ``P_in`` dense; or ``exact``, where both
        are the identity and nothing is sketched.
    :param shapes: the target modules by name, in the model's order.
    :param rank: k; a side with no more dimensions keeps them all.
    :param dim: D; ignored by ``exact``, whose D is the number of parameters.
    :param ties: modules whose weight is an earlier one's: it has one gradient, whose projection gets both parts.
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
        ties: Mapping[str, str] | None = None,
    ):
        self._rank = rank
        self._seed = seed
        self._device = device
        self._dtype = dtype
        self._ties = ties or {}
        own = {name: shape for name, shape in shapes.items() if name not in self._ties}
        self.dim = dim if kind != "exact" else sum(shape.weights for shape in own.values())
        self._modules: dict[str, ModuleProjection] = {}
        self._sides: dict[tuple[str, int], Side] = {}
        offset = 0
        for name, shape in own.items():
            if kind == "exact":
                blocks = None if shape.experts is None else ExpertBlocks(shape.experts)
                sides = Side(shape.d_in), Side(shape.d_out)
                self._modules[name] = ModuleProjection(*sides, offset=offset, separation=blocks)
                offset += shape.weights
            elif kind == "flora":
                sides = self._dense(name, shape.d_in), Side(shape.d_out)
                self._modules[name] = self._sketched(name, *sides, shape.experts)
            else:
                sides = self._shared_side(name, shape.d_in), self._blocks(name, "out", shape.d_out)
                self._modules[name] = self._sketched(name, *sides, shape.experts)

    def __getitem__(self, module: str) -> ModuleProjection:
        return self._modules[self.first_of_its_weight(module)]

    def first_of_its_weight(self, module: str) -> str:
        """The first of the modules that have this one's weight; itself, unless it is tied."""
        return self._ties.get(module, module)

    def add(self, target: Tensor, modules: Sequence[str], inner: Tensor) -> None:
        """Adds the parts of some modules of one shape to the compressed gradients.

        :param target: float32, ``[pairs, D]``.
        :param inner: float32 ``[modules, pairs, k_out, k_in]``, see `ModuleProjection.add`; it may be written to.
        """
        parts = [self[module] for module in modules]
        if len(parts) == 1 or not all(part.fills_in_order for part in parts):
            for part, of_module in zip(parts, inner, strict=True):
                part.add(target, of_module)
            return
        signs = torch.stack([part.signs for part in parts if part.signs is not None])  # [modules, D]
        target += inner.flatten(2).to(target.device).mul_(signs[:, None]).sum(0)

    def _shared_side(self, name: str, dim: int) -> Side:
        """One basis for the inputs of all modules of a parent: where these are the same, as those of queries, keys and
        values are, one projection does for all."""
        parent = name.rpartition(".")[0]
        if (parent, dim) not in self._sides:
            self._sides[parent, dim] = self._blocks(parent, "in", dim)
        return self._sides[parent, dim]

    def _blocks(self, name: str, side: SideName, dim: int) -> Side:
        if dim <= self._rank:
            return Side(dim)
        # By columns: a product with so few of them takes a CPU two thirds of the time that it takes by rows.
        signs = np.asfortranarray(block_signs(self._seed, name, side, dim, self._rank))
        block = torch.from_numpy(signs)
        return Side(self._rank, block.to(self._device, self._dtype), row_length=block.shape[1] ** 0.5)

    def _dense(self, name: str, dim: int) -> Side:
        rank = min(self._rank, dim)
        basis = torch.from_numpy(orthonormal(self._seed, name, "in", dim, rank))
        return Side(rank, basis.to(self._device, self._dtype))

    def _sketched(self, name: str, side_in: Side, side_out: Side, experts: int | None) -> ModuleProjection:
        size = side_in.size * side_out.size
        scale = 1 / (side_in.row_length * side_out.row_length)
        draw = generator(self._seed, name, "sketch", size, self.dim)
        signs = torch.from_numpy(draw.choice(np.array([-scale, scale], dtype=np.float32), size)).to(self._device)
        slots = None
        if size != self.dim:
            # As many entries in every slot as in any other, to one.
            shuffled = draw.permutation(-(-size // self.dim) * self.dim)[:size] % self.dim
            slots = torch.from_numpy(shuffled).to(self._device)
        separation = None
        if experts is not None:
            sizes = side_out.size, side_in.size
            separation = ExpertSigns(self._seed, name, experts, sizes, self._device, self._dtype)
        return ModuleProjection(side_in, side_out, slots, signs, separation=separation)
