r"""Compression of per-sample gradients: linear, fixed, and true to inner products.

The gradient of linear layer m is :math:`G_m = \sum_t \delta_t a_t^\top`. It is never formed. Each of R copies keeps a
small product of it, and all of them are added into D numbers with random signs:

.. math::
    Y_m^r = P_\mathrm{out}^{r\top} G_m P_\mathrm{in}^r
        = \sum_t (P_\mathrm{out}^{r\top} \delta_t)(P_\mathrm{in}^{r\top} a_t)^\top \in \mathbb{R}^{k \times k}, \qquad
    z = \sum_m \mathrm{sketch}_m(\mathrm{concat}_r Y_m^r / \sqrt R) \in \mathbb{R}^D

Every part keeps inner products in the mean: :math:`E\langle z, z'\rangle = \langle g, g'\rangle`.

One product errs by about :math:`1/\sqrt k` on every near-rank-one part of a gradient, whatever D is, because the error
of a side is shared by all of its part. Copies with other bases average it out, and R = D/k² of them fill z once. What
they cost is made up for by bases that are block-diagonal: k columns of a block each, with entries ±1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from congrad_worker.randomness import generator

SideName = Literal["in", "out"]

BLOCKS = 16
"""Blocks of a basis at most. More cost less and mix less."""

COPIES = 4
"""Products of a module at most; their sides are what is kept of the activations for the backward pass."""


@dataclass(frozen=True)
class LinearShape:
    """The sizes of one linear layer's weight."""

    d_in: int
    d_out: int


def block_signs(seed: int, module: str, side: SideName, dim: int, rank: int) -> np.ndarray:
    r"""The bases of one side of a module, block by block.

    Basis r is :math:`P^r = \mathrm{blockdiag}_j(W_j^r) / \sqrt c` with c = rank / blocks. The columns of all
    :math:`W_j^r` are those of one Hadamard matrix with its rows chosen, shuffled and given signs at random: within a
    basis and between bases they are orthogonal where the block is a power of two, and nearly so elsewhere.
    :math:`E[P^r P^{r\top}] = I`, and every coordinate has the same length in every basis, so that an outlier is kept.

    :returns: int8, ``[blocks, dim / blocks, bases * c]``: entries ±1, basis after basis.
    """
    blocks = int(np.gcd.reduce((dim, rank, BLOCKS)))
    rows, columns = dim // blocks, rank // blocks
    size = 1 << (rows - 1).bit_length()  # of the Hadamard matrix; rank <= dim, so its columns suffice
    bases = min(COPIES, size // columns)
    draw = generator(seed, module, side, dim, rank)
    order = np.stack([draw.permutation(size)[:rows] for _ in range(blocks)])  # [blocks, rows]
    signs = draw.choice(np.array([-1, 1], dtype=np.int8), (blocks, rows, 1))
    parity = np.bitwise_count(order[:, :, None] & np.arange(bases * columns)) & 1
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
    """The bases of one side of a module, or none: then vectors are kept as they are.

    :param weights: ``[blocks, dim / blocks, bases * columns]``.
    :param columns: of one basis in one block.
    """

    def __init__(self, weights: Tensor, columns: int):
        self._weights = weights
        self._columns = columns
        self.bases = weights.shape[2] // columns

    def pick(self, bases: list[int]) -> "Side":
        """The same side with some of its bases, in this order."""
        chosen = self._weights.unflatten(2, (self.bases, self._columns))[:, :, bases]
        return Side(chosen.flatten(2), self._columns)

    def project(self, vectors: Tensor) -> Tensor:
        """``[pairs, tokens, dim]`` to ``[bases, pairs, tokens, k]``."""
        pairs, tokens, _ = vectors.shape
        blocks, rows, _ = self._weights.shape
        # An adapter's layers may compute in another dtype than the model.
        split = vectors.to(self._weights.dtype).reshape(pairs * tokens, blocks, rows).transpose(0, 1)
        products = torch.bmm(split, self._weights).view(blocks, pairs, tokens, self.bases, self._columns)
        return products.permute(3, 1, 2, 0, 4).flatten(3)


class ModuleProjection:
    """What happens to the gradient of one module: its small products, then their share of the sketch.

    :param side_in: None for the identity, as ``side_out``.
    :param slots: positions in z of the products' entries, ``[copies * k_out * k_in]``; None where these fill z in
        order, or, unsketched, begin at ``offset``.
    :param signs: their signs, times what makes up for the number and the length of the bases.
    """

    def __init__(
        self, side_in: Side | None, side_out: Side | None, slots: Tensor | None, signs: Tensor | None, offset: int
    ):
        self._side_in = side_in
        self._side_out = side_out
        self._slots = slots
        self._signs = signs
        self._offset = offset

    def project_in(self, activations: Tensor) -> Tensor:
        """``[pairs, tokens, d_in]`` to ``[copies or 1, pairs, tokens, k_in]``."""
        return activations[None] if self._side_in is None else self._side_in.project(activations)

    def project_out(self, output_gradients: Tensor) -> Tensor:
        """``[pairs, tokens, d_out]`` to ``[copies or 1, pairs, tokens, k_out]``."""
        return output_gradients[None] if self._side_out is None else self._side_out.project(output_gradients)

    def compress(self, target: Tensor, gradient: Tensor) -> None:
        """Adds a gradient that is at hand whole, ``[d_out, d_in]``, to a row of its own, float32 ``[1, D]``."""
        identity = torch.eye(gradient.shape[0], dtype=gradient.dtype, device=gradient.device)
        self.accumulate(target, self.project_out(identity[None]), self.project_in(gradient[None]))

    def accumulate(self, target: Tensor, deltas: Tensor, activations: Tensor) -> None:
        """Adds this module's part to the compressed gradients.

        :param target: float32, ``[pairs, D]``.
        :param deltas: what `project_out` made of the output gradients.
        :param activations: what `project_in` made of the inputs.
        """
        products = torch.matmul(deltas.float().transpose(2, 3), activations.float())  # [copies, pairs, k_out, k_in]
        flat = products.transpose(0, 1).flatten(1)  # [pairs, copies * k_out * k_in]
        if self._signs is None:
            target[:, self._offset : self._offset + flat.shape[1]] += flat
        elif self._slots is None:
            target.addcmul_(flat, self._signs)
        else:
            target.index_add_(1, self._slots, flat * self._signs)


class Projection:
    """The projections of all target modules of one checkpoint.

    :param kind: ``kronecker``; ``flora``, where ``P_out`` is the identity and ``P_in`` dense; or ``exact``, where both
        are the identity and nothing is sketched.
    :param shapes: the target modules by name, in the model's order.
    :param rank: k; a side with no more dimensions keeps them all.
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
        self._rank = rank
        self._seed = seed
        self._device = device
        self._dtype = dtype
        self.dim = dim if kind != "exact" else sum(s.d_in * s.d_out for s in shapes.values())
        self._modules: dict[str, ModuleProjection] = {}
        offset = 0
        for name, shape in shapes.items():
            if kind == "exact":
                self._modules[name] = ModuleProjection(None, None, None, None, offset)
                offset += shape.d_in * shape.d_out
            elif kind == "flora":
                self._modules[name] = self._one_sided(name, shape)
            else:
                self._modules[name] = self._two_sided(name, shape)

    def __getitem__(self, module: str) -> ModuleProjection:
        return self._modules[module]

    def _two_sided(self, name: str, shape: LinearShape) -> ModuleProjection:
        sides = self._blocks(name, "in", shape.d_in), self._blocks(name, "out", shape.d_out)
        ranks = min(self._rank, shape.d_in), min(self._rank, shape.d_out)
        bases_in, bases_out = (1 if side is None else side[0].bases for side in sides)
        copies = min(COPIES, max(1, self.dim // (ranks[0] * ranks[1])), bases_in * bases_out)
        # Every pair of bases once before any comes again.
        turns = [(r % bases_in, (r + r // max(bases_in, bases_out)) % bases_out) for r in range(copies)]
        picked = [None if s is None else s[0].pick([t[i] for t in turns]) for i, s in enumerate(sides)]
        scale = np.sqrt(1 / copies / np.prod([1 if s is None else s[1] for s in sides]))
        return ModuleProjection(picked[0], picked[1], *self._sketch(name, copies * ranks[0] * ranks[1], scale), 0)

    def _one_sided(self, name: str, shape: LinearShape) -> ModuleProjection:
        rank = min(self._rank, shape.d_in)
        basis = torch.from_numpy(orthonormal(self._seed, name, "in", shape.d_in, rank))
        side = Side(basis[None].to(self._device, self._dtype), rank)
        return ModuleProjection(side, None, *self._sketch(name, rank * shape.d_out, 1.0), 0)

    def _blocks(self, name: str, side: SideName, dim: int) -> tuple[Side, int] | None:
        """The bases of a side, and c, by whose root their entries are too long; None for the identity."""
        if dim <= self._rank:
            return None
        signs = torch.from_numpy(block_signs(self._seed, name, side, dim, self._rank))
        columns = self._rank // signs.shape[0]
        return Side(signs.to(self._device, self._dtype), columns), columns

    def _sketch(self, name: str, size: int, scale: float) -> tuple[Tensor | None, Tensor]:
        """A slot in [0, D) and a sign for each entry of a module's products; no slots where the entries fill z."""
        draw = generator(self._seed, name, "sketch", size, self.dim)
        signs = draw.choice(np.array([-scale, scale], dtype=np.float32), size)
        slots = None
        if size != self.dim:
            # As many entries in every slot as in any other, to one.
            shuffled = draw.permutation(-(-size // self.dim) * self.dim)[:size] % self.dim
            slots = torch.from_numpy(shuffled).to(self._device)
        return slots, torch.from_numpy(signs).to(self._device)
