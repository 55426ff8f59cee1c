"""Sums over the tokens of pairs, for several modules at a time.

A GPU is fed by one thread of the host, and the sums of one module are ten small operations: those of modules of like
shape wait for one another and become one product of matrices. A CPU has each at once, while its sides are in the
caches.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from congrad_worker.gradients.layouts.extents import Extents
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.projection import Projection

WAITING_BYTES = {"cuda": 2**27, "meta": 2**27}
"""What modules of one shape may hold on to while they wait, by the type of device: little beside its memory, and enough
for dozens of modules."""


@dataclass
class _Waiting:
    """Modules whose sums are to be one product."""

    names: list[str] = field(default_factory=list)
    deltas: list[Tensor] = field(default_factory=list)
    activations: list[Tensor] = field(default_factory=list)
    held: int = 0  # bytes


class Sums:
    """The sums of one batch, on their way into the gradients of its pairs.

    :param target: float32 ``[pairs, D]``; has all of them once it is `finish`ed.
    """

    def __init__(self, projection: Projection, layout: Layout, extents: Extents, target: Tensor):
        self._projection = projection
        self._layout = layout
        self._extents = extents
        self._target = target
        self._waiting: dict[tuple[object, ...], _Waiting] = {}

    def add(self, name: str, deltas: Tensor, activations: Tensor) -> None:
        """A module's projected sides, ``[rows, tokens, k_out]`` and ``[rows, tokens, k_in]``; of experts, each token as
        often as it is routed."""
        kind = *((side.shape, side.dtype) for side in (deltas, activations)), deltas.device
        waiting = self._waiting.setdefault(kind, _Waiting())
        waiting.names.append(name)
        waiting.deltas.append(deltas)
        waiting.activations.append(activations)
        waiting.held += self._bytes(deltas, activations)
        if waiting.held >= WAITING_BYTES.get(deltas.device.type, 0):
            self._sum(self._waiting.pop(kind))

    def finish(self) -> None:
        """Adds what still waits."""
        while self._waiting:
            self._sum(self._waiting.popitem()[1])

    def _bytes(self, deltas: Tensor, activations: Tensor) -> int:
        sides = sum(side.numel() * side.element_size() for side in (deltas, activations))
        return sides + 4 * self._extents.pairs * deltas.shape[-1] * activations.shape[-1]

    def _sum(self, waiting: _Waiting) -> None:
        inner = self._layout.products(_stacked(waiting.deltas), _stacked(waiting.activations), self._extents)
        self._projection.add(self._target, waiting.names, inner)


def _stacked(sides: list[Tensor]) -> Tensor:
    return torch.stack(sides) if len(sides) > 1 else sides[0][None]
