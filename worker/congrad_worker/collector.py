"""Hooks that turn a forward and an activation backward into compressed per-pair gradients.

The weights are frozen, so autograd differentiates activations only. A forward hook keeps the projected input of each
target module; a hook on its output multiplies it with the projected gradient as soon as that is known. No weight
gradient is ever formed, and nothing of the size of the model is kept.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from congrad_worker.projection import Projection


class UnsupportedModuleError(RuntimeError):
    """A target module is called in a way that does not keep the pairs of a batch apart."""


class Collector:
    """Collects the compressed gradients of the pairs of one batch at a time."""

    def __init__(self, modules: Mapping[str, nn.Module], projection: Projection, embeddings: nn.Module):
        self._modules = modules
        self._projection = projection
        self._embeddings = embeddings
        self._target: Tensor | None = None  # float32 [pairs, D]

    @contextmanager
    def collecting(self, pairs: int, device: torch.device) -> Iterator[Tensor]:
        """Hooks the model for the time of the block.

        :returns: float32 ``[pairs, D]``, filled by the backward pass inside the block. Rows ``2 i`` and ``2 i + 1``
            of the batch belong to pair ``i``, and their gradients are added.
        """
        self._target = torch.zeros(pairs, self._projection.dim, device=device)
        with ExitStack() as hooks:
            # Frozen weights give autograd nothing to start from; the embeddings' output is where it begins.
            hooks.callback(self._embeddings.register_forward_hook(_require_grad).remove)
            for name, module in self._modules.items():
                hooks.callback(module.register_forward_hook(self._forward_hook(name)).remove)
            yield self._target
        self._target = None

    def _forward_hook(self, name: str) -> Any:
        projection = self._projection[name]

        def on_forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not output.requires_grad:  # a reference forward
                return
            activations = inputs[0].detach()  # [2 * pairs, tokens, d_in]
            if activations.dim() != 3 or activations.shape[0] != 2 * self._pairs:
                raise UnsupportedModuleError(
                    f"{name} gets an input of shape {tuple(activations.shape)}, not [rows, tokens, features]"
                )
            projected = projection.project_in(activations)
            output.register_hook(lambda gradient: self._add(name, projected, gradient))

        return on_forward

    def _add(self, name: str, activations: Tensor, gradient: Tensor) -> None:
        assert self._target is not None
        projection = self._projection[name]
        deltas = projection.project_out(gradient)
        # Chosen and rejected of a pair are neighbours: as one row of twice the tokens their gradients add up.
        deltas = deltas.reshape(self._pairs, -1, deltas.shape[-1]).float()  # [pairs, 2 * tokens, k_out]
        activations = activations.reshape(self._pairs, -1, activations.shape[-1]).float()
        projection.accumulate(self._target, torch.bmm(deltas.transpose(1, 2), activations))

    @property
    def _pairs(self) -> int:
        assert self._target is not None
        return self._target.shape[0]


def _require_grad(_: nn.Module, __: object, output: Tensor) -> Tensor:
    return output.requires_grad_() if torch.is_grad_enabled() else output
