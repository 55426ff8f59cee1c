"""All that is computed in fewer operations than a model's own code has, for as long as an engine runs the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from congrad_worker.checkpoints.adapters import Model
from congrad_worker.gradients.fused.gates import fused_gates
from congrad_worker.gradients.fused.norms import fused_norms
from congrad_worker.gradients.fused.rotary import NAME, rotaries


class Chains:
    """What stands in for the chains of operations of some models, weights included: it is to go when these move."""

    def __init__(self, model: Model):
        found: list[tuple[Any, str, Any]] = [(module, "forward", norm) for module, norm in fused_norms(model)]
        found += [(module, "forward", forward) for module, forward in fused_gates(model)]
        # A module that accelerate has on another device than the one before it moves its inputs in `forward`.
        self._stand_ins = [entry for entry in found if not hasattr(entry[0], "_hf_hook")]
        self._stand_ins += [(module, NAME, rotary) for module, rotary in rotaries(model)]

    @contextmanager
    def fused(self) -> Iterator[None]:
        """The model's own again after the block. Functions belong to the process: nothing else may run a model
        meanwhile, and a worker has one thread."""
        before = [(owner, name, vars(owner).get(name)) for owner, name, _ in self._stand_ins]
        try:
            for owner, name, stand_in in self._stand_ins:
                setattr(owner, name, stand_in)
            yield
        finally:
            for owner, name, own in before:
                if own is None:  # that of its class
                    delattr(owner, name)
                else:
                    setattr(owner, name, own)
