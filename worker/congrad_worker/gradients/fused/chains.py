"""All that is computed in fewer operations than a model's own code has."""

from typing import Any

from congrad_worker.checkpoints.adapters import Model
from congrad_worker.gradients.fused.gates import fused_gates
from congrad_worker.gradients.fused.norms import fused_norms
from congrad_worker.gradients.fused.rotary import NAME, rotaries
from congrad_worker.gradients.fused.stand_ins import StandIns


def chains(model: Model) -> StandIns:
    """What stands in for the chains of operations of some models."""
    found: list[tuple[Any, str, Any]] = [(module, "forward", norm) for module, norm in fused_norms(model)]
    found += [(module, "forward", forward) for module, forward in fused_gates(model)]
    # A module that accelerate has on another device than the one before it moves its inputs in `forward`.
    found = [entry for entry in found if not hasattr(entry[0], "_hf_hook")]
    return StandIns(found + [(module, NAME, rotary) for module, rotary in rotaries(model)])
