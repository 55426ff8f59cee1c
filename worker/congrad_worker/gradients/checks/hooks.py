"""Gradients by hooks against those that autograd finds in the weights, in one backward pass, module by module.

Hooks see what a model's code does with its modules, not what it should have done: a weight used without calling its
module, or tokens in another order. Both gradients are of the same activations and the same output gradients, so that
rounding, which in half precision is percents between two passes, is next to nothing here, and what is left has a name.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.collector import Collector
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.losses.logps import token_logps
from congrad_worker.gradients.projection import ModuleProjection, Projection
from congrad_worker.gradients.targets import Target

SMALL = 0.1
"""A module whose gradient is smaller than this part of the mean module's is compared with that part: what rounding does
to a sum of terms that cancel is much of the sum and nothing of the whole."""

LACKING = 0.5
"""But no rounding is that much of a module's own gradient, down to `NOTHING` of the mean module's: what is, is a use of
the weight that hooks have not seen."""
NOTHING = 1e-6


class NoGradientError(RuntimeError):
    """The gradient of a test pair is zero, or is not finite."""


class Recording:
    """Stands in for a projection, and keeps what is added of each module instead of adding it up."""

    def __init__(self, projection: Projection):
        self.dim = projection.dim
        self.products: dict[str, Tensor] = {}  # float32 [pairs, k_out, k_in] by module
        self._projection = projection

    def __getitem__(self, name: str) -> ModuleProjection:
        recorded = copy.copy(self._projection[name])
        recorded.add = lambda target, inner: self._keep(name, inner)  # type: ignore[method-assign] # noqa: ARG005
        return recorded

    def add(self, _: Tensor, modules: Sequence[str], inner: Tensor) -> None:
        """What is added of some modules, float32 ``[modules, pairs, k_out, k_in]``."""
        for name, of_module in zip(modules, inner, strict=True):
            self._keep(name, of_module)

    def _keep(self, name: str, inner: Tensor) -> None:
        first = self._projection.first_of_its_weight(name)
        self.products[first] = self.products[first] + inner if first in self.products else inner


@dataclass(frozen=True)
class Compared:
    """How far each module's gradient of the first of some pairs is from autograd's, relative to its size (``errors``),
    and what the pass computes on its way: log-probabilities of the last pair's tokens, float32 ``[tokens]``."""

    errors: dict[str, float]
    logps: Tensor


def compared(engine: GradientEngine, layout: Layout, pairs: Sequence[EncodedPair]) -> Compared:
    """Compares the gradients of the first of ``pairs``, in one batch with the others.

    Of that pair alone: in the rows of the others nothing may be found.

    :raises NoGradientError: there is nothing to compare.
    """
    batch = layout.batch(pairs, engine.checkpoint.pad_id).to(engine.checkpoint.device)
    hooked, weighed = Recording(engine.projection), Recording(engine.projection)
    collector = Collector(engine.modules, hooked)  # type: ignore[arg-type] # stands in for a projection
    with (
        torch.enable_grad(),
        engine.running(batch, layout),
        collector.collecting(batch, layout),
        _weights(engine, weighed),
    ):
        logps = token_logps(engine.checkpoint.model, batch)
        of_first = torch.tensor([1.0, -1.0] + [0.0] * (2 * len(pairs) - 2), device=logps.device)
        (logps * of_first[batch.targets.completions]).sum().backward()
    of_last = (batch.targets.completions >= 2 * len(pairs) - 2).to(logps.device)
    return Compared(_errors(hooked.products, weighed.products), logps.detach()[of_last])


def _errors(hooked: dict[str, Tensor], weighed: dict[str, Tensor]) -> dict[str, float]:
    """:param hooked: ``[pairs, ...]`` each.
    :param weighed: ``[1, ...]`` each; a module without any has had no part in the pass.
    """
    found = {}
    for name in hooked.keys() | weighed.keys():
        mine, truth = hooked.get(name), weighed.get(name)
        like = mine if mine is not None else truth
        assert like is not None
        expected = torch.zeros_like(like) if mine is not None else like.clone()
        if truth is not None:
            expected[0] = truth[0]
        difference = expected if mine is None else mine - expected
        found[name] = torch.stack((difference.norm(), expected.norm())).cpu()
    norms = torch.stack(list(found.values()))[:, 1]
    if not norms.isfinite().all() or not norms.any():
        raise NoGradientError("vanish" if norms.isfinite().all() else "overflow")
    mean = float(norms.square().mean().sqrt())
    return {name: _relative(float(difference), float(norm), mean) for name, (difference, norm) in found.items()}


def _relative(difference: float, norm: float, mean: float) -> float:
    if norm > NOTHING * mean and difference > LACKING * norm:
        return difference / norm
    return difference / max(norm, SMALL * mean)


@contextmanager
def _weights(engine: GradientEngine, target: Recording) -> Iterator[None]:
    """Has each target module's weight gradient compressed as soon as autograd has it: one at a time is held."""
    hooks = []
    none = torch.empty(0)
    first = engine.projection.first_of_its_weight
    chosen = {name: of_module for name, of_module in engine.modules.items() if first(name) == name}
    for name, of_module in chosen.items():

        def compress(weight: Tensor, name: str = name, of_module: Target = of_module) -> None:
            assert weight.grad is not None
            target[name].compress(none, of_module.matrices(weight.grad)[None])
            weight.grad = None

        hooks.append(of_module.weight.requires_grad_().register_post_accumulate_grad_hook(compress))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for of_module in chosen.values():
            of_module.weight.requires_grad_(False)
