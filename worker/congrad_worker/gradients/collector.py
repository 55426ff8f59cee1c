"""Hooks that turn a forward and an activation backward into compressed per-pair gradients.

The weights are frozen, so autograd differentiates activations only. What a target's weight is multiplied with is
projected and kept; a hook on the product has it multiplied with the projected gradient when this is known. No
weight gradient is ever formed, and nothing of the size of the model is kept.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.products.calls import products_within
from congrad_worker.gradients.products.experts import RoutedProduct, routed_products
from congrad_worker.gradients.projection import Projection, Side
from congrad_worker.gradients.sums import Sums
from congrad_worker.gradients.targets import Target, Use


class UnsupportedModuleError(RuntimeError):
    """A target module is called in a way that does not keep the pairs of a batch apart."""


class Collector:
    """Collects the compressed gradients of the pairs of one batch at a time."""

    def __init__(self, targets: Mapping[str, Target], projection: Projection):
        self._layers = {name: target.module for name, target in targets.items() if target.use is Use.LAYER}
        self._calls = _by_module(targets, Use.CALL)
        self._experts = _by_module(targets, Use.ROUTED)
        self._projection = projection
        self._rows = (0, 0)  # of the batch: rows and their tokens
        self._sums: dict[tuple[int, int], Sums] = {}  # of all tokens, and of those that predict, by rows and tokens
        # An input, its side, and what came of them. It holds on to the input, so that no later one is in its place and
        # passes for it; a module that writes into its input would, and the check of an engine sees that.
        self._latest: tuple[Tensor, Side, Tensor] | None = None

    @contextmanager
    def collecting(self, batch: Batch, layout: Layout) -> Iterator[Tensor]:
        """Hooks the model for the time of the block.

        :returns: float32 ``[pairs, D]``, which has what the backward pass inside the block found when the block ends.
        """
        target = torch.zeros(batch.pairs, self._projection.dim, device=batch.input_ids.device)
        kinds = [batch.extents] + ([] if batch.predicting is None else [batch.predicting.extents])
        self._rows = batch.extents.shape
        self._sums = {kind.shape: Sums(self._projection, layout, kind, target) for kind in kinds}
        with ExitStack() as hooks:
            for name, module in self._layers.items():
                hooks.callback(module.register_forward_hook(self._forward_hook(name)).remove)
            for module, names in self._calls.items():
                weights = {name: module.get_parameter(parameter) for parameter, name in names.items()}
                hooks.enter_context(products_within(module, weights, self._on_call))
            if self._experts:
                hooks.enter_context(routed_products(self._experts, self._on_routed))
            try:
                yield target
                for sums in self._sums.values():
                    sums.finish()
            finally:
                self._sums, self._latest = {}, None

    def _forward_hook(self, name: str) -> Any:
        def on_forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self._on_layer(name, inputs[0], output)

        return on_forward

    def _on_layer(self, name: str, inputs: Tensor, output: Tensor) -> None:
        if not torch.is_grad_enabled():  # a reference forward
            return
        shape = self._shape(inputs)
        if shape is None:
            # DoRA puts an identity matrix through its layers, for a norm that is no function of the weights to
            # autograd. Nothing comes back from there; where something does, it cannot be told apart by pairs.
            if output.requires_grad:
                output.register_hook(lambda _: _refuse(name, inputs))
            return
        rows = inputs.detach().reshape(*shape, -1)
        projected = self._project_in(self._projection[name].side_in, inputs, rows)
        _differentiable(output).register_hook(lambda gradient: self._add(name, projected, gradient))

    def _on_call(self, name: str, inputs: Tensor, output: Tensor) -> None:
        if self._projection[name].separation is None:
            self._on_layer(name, inputs, output)
        elif torch.is_grad_enabled():
            self._on_batched(name, inputs, output)

    def _on_batched(self, name: str, inputs: Tensor, output: Tensor) -> None:
        """:param inputs: ``[experts, rows * tokens, d_in]``: every expert has every token."""
        count, tokens, _ = inputs.shape
        if tokens != math.prod(self._rows):
            _refuse(name, inputs)
        projection = self._projection[name]
        activations = projection.project_in(inputs.detach())  # [experts, rows * tokens, k_in]
        experts = torch.arange(count, device=inputs.device).repeat(tokens)

        def on_backward(gradient: Tensor) -> None:
            out = projection.project_out(gradient).transpose(0, 1).flatten(0, 1)
            self._add_routed(name, out, activations.transpose(0, 1).flatten(0, 1), experts)

        _differentiable(output).register_hook(on_backward)

    def _on_routed(self, product: RoutedProduct) -> None:
        name = self._experts[product.module].get(product.parameter)
        if name is None:  # not chosen
            return
        routing, rows = product.routing, product.rows  # the hook must not hold on to the tensor that it is on
        if routing.count != math.prod(self._rows):
            _refuse(name, product.inputs)
        projection = self._projection[name]
        activations = projection.project_in(product.inputs.detach())  # [n, k_in]

        def on_backward(gradient: Tensor) -> None:
            deltas = projection.project_out(gradient)[routing.places]  # [slots, k_out], in the order of the tokens
            self._add_routed(name, deltas, activations[rows], routing.experts)

        _differentiable(product.outputs).register_hook(on_backward)

    def _shape(self, inputs: Tensor) -> tuple[int, int] | None:
        """The rows and tokens of ``[rows, tokens, features]``, also of what a model has flattened; None where it is
        neither."""
        for rows, tokens in self._sums:
            # Latent attention puts a dimension for heads between.
            if inputs.shape[:-1] in ((rows, tokens), (rows * tokens,), (rows, 1, tokens)):
                return rows, tokens
        return None

    def _project_in(self, side: Side, inputs: Tensor, rows: Tensor) -> Tensor:
        """Queries, keys and values are made of the same tensor, and have one side."""
        if self._latest is None or self._latest[0] is not inputs or self._latest[1] is not side:
            self._latest = inputs, side, side.project(rows)
        return self._latest[2]

    def _add(self, name: str, activations: Tensor, gradient: Tensor) -> None:
        rows, tokens, _ = activations.shape
        deltas = self._projection[name].project_out(gradient.reshape(rows, tokens, -1))
        self._sums[rows, tokens].add(name, deltas, activations)

    def _add_routed(self, name: str, deltas: Tensor, activations: Tensor, experts: Tensor) -> None:
        """:param experts: int64 ``[slots]``, in the order of the tokens, as the first dimension of both sides is."""
        separation = self._projection[name].separation
        assert separation is not None
        sides = separation.apart(deltas, activations, experts)
        self._sums[self._rows].add(name, *(side.unflatten(0, (self._rows[0], -1)) for side in sides))


def _by_module(targets: Mapping[str, Target], use: Use) -> dict[nn.Module, dict[str, str]]:
    """The targets of one use: their names by their parameters, by their modules."""
    found: dict[nn.Module, dict[str, str]] = {}
    for name, target in targets.items():
        if target.use is use:
            found.setdefault(target.module, {})[target.parameter] = name
    return found


def _differentiable(output: Tensor) -> Tensor:
    """Frozen weights give autograd nothing to start from: the lowest targets are where it begins, and below them it has
    nothing to do."""
    return output if output.requires_grad else output.requires_grad_()


def _refuse(name: str, inputs: Tensor) -> None:
    raise UnsupportedModuleError(f"{name} gets an input of shape {tuple(inputs.shape)}, not [rows, tokens, features]")
