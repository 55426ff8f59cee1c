"""The product in a gated MLP, ``down(silu(gate(x)) ∘ up(x))``, by Liger-Kernel's kernel where that is installed."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers.activations import ACT2FN

from congrad_worker.checkpoints.adapters import Model
from congrad_worker.gradients.fused import liger
from congrad_worker.gradients.fused.likeness import are_alike, drawn
from congrad_worker.gradients.modules import decoder_blocks

ROWS = 4
PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")


def fused_gates(model: Model) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Every gated MLP of ``model`` whose gate is SiLU, with what computes the same."""
    known: dict[type, bool] = {}  # by class: a layer computes what the one before it does, whatever its weights
    for blocks in decoder_blocks(model).values():
        for module in blocks.modules():
            if all(hasattr(module, part) for part in PARTS):
                kernels = liger.kernels(next(module.parameters()).device)
                if kernels is None:
                    continue
                forward = partial(_forward, module, kernels)
                if type(module) not in known:
                    known[type(module)] = _is(module, forward)
                if known[type(module)]:
                    yield module, forward


def _forward(module: Any, kernels: liger.Kernels, inputs: Tensor) -> Tensor:
    outputs: Tensor = module.down_proj(kernels.silu_product(module.gate_proj(inputs), module.up_proj(inputs)))
    return outputs


def _is(module: Any, forward: Callable[[Tensor], Tensor]) -> bool:
    weight = next(module.parameters())
    if weight.device.type == "meta":
        return isinstance(module.act_fn, type(ACT2FN["silu"]))
    size = getattr(module.gate_proj, "in_features", None)
    if size is None or not weight.is_floating_point():  # quantised layers say by themselves what they compute
        return False
    return are_alike(module, forward, [drawn((ROWS, size), weight, seed=0)])
