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

from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.projection import Projection, Side


class UnsupportedModuleError(RuntimeError):
    """A target module is called in a way that does not keep the pairs of a batch apart."""


class Collector:
    """Collects the compressed gradients of the pairs of one batch at a time."""

    def __init__(self, modules: Mapping[str, nn.Module], projection: Projection):
        self._modules = modules
        self._projection = projection
        self._layout: Layout | None = None  # of the batch
        self._rows = (0, 0)  # of the batch: rows and their tokens
        self._target: Tensor | None = None  # float32 [pairs, D]
        # An input, its side, and what came of them. It holds on to the input, so that no later one is in its place and
        # passes for it; a module that writes into its input would, and the check of an engine sees that.
        self._latest: tuple[Tensor, Side, Tensor] | None = None

    @contextmanager
    def collecting(self, batch: Batch, layout: Layout) -> Iterator[Tensor]:
        """Hooks the model for the time of the block.

        :returns: float32 ``[pairs, D]``, filled by the backward pass inside the block.
        """
        rows, tokens = batch.input_ids.shape
        self._rows, self._layout = (rows, tokens), layout
        self._target = torch.zeros(batch.pairs, self._projection.dim, device=batch.input_ids.device)
        with ExitStack() as hooks:
            for name, module in self._modules.items():
                hooks.callback(module.register_forward_hook(self._forward_hook(name)).remove)
            try:
                yield self._target
            finally:
                self._target = self._latest = None

    def _forward_hook(self, name: str) -> Any:
        projection = self._projection[name]

        def on_forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not torch.is_grad_enabled():  # a reference forward
                return
            rows = self._split(inputs[0].detach())
            if rows is None:
                # DoRA puts an identity matrix through its layers, for a norm that is no function of the weights to
                # autograd. Nothing comes back from there; where something does, it cannot be told apart by pairs.
                if output.requires_grad:
                    output.register_hook(lambda _: _refuse(name, inputs[0]))
                return
            if not output.requires_grad:
                # Frozen weights give autograd nothing to start from; the lowest target modules are where it begins,
                # and below them nothing is differentiated.
                output.requires_grad_()
            projected = self._project_in(projection.side_in, inputs[0], rows)
            output.register_hook(lambda gradient: self._add(name, projected, gradient))

        return on_forward

    def _split(self, activations: Tensor) -> Tensor | None:
        """``[rows, tokens, features]``, also of what a model has flattened; None where it is neither."""
        rows, tokens = self._rows
        # Latent attention puts a dimension for heads between.
        if activations.shape[:-1] in ((rows, tokens), (rows * tokens,), (rows, 1, tokens)):
            return activations.reshape(rows, tokens, -1)
        return None

    def _project_in(self, side: Side, inputs: Tensor, rows: Tensor) -> Tensor:
        """Queries, keys and values are made of the same tensor, and have one side."""
        if self._latest is None or self._latest[0] is not inputs or self._latest[1] is not side:
            self._latest = inputs, side, side.project(rows)
        return self._latest[2]

    def _add(self, name: str, activations: Tensor, gradient: Tensor) -> None:
        assert self._target is not None
        assert self._layout is not None
        projection = self._projection[name]
        deltas = projection.project_out(gradient.reshape(*self._rows, gradient.shape[-1]))
        projection.add(self._target, self._layout.products(deltas, activations, pairs=self._target.shape[0]))


def _refuse(name: str, inputs: Tensor) -> None:
    raise UnsupportedModuleError(f"{name} gets an input of shape {tuple(inputs.shape)}, not [rows, tokens, features]")
