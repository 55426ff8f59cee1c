"""Gradient checkpointing of decoder layers: only their inputs are kept, and the backward pass computes them again."""

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from congrad_worker.checkpoints.adapters import Model
from congrad_worker.gradients.modules import decoder_blocks


def recompute_layers(model: Model) -> None:
    """Checkpoints every decoder layer of ``model``.

    transformers' own switch works in training mode only, where dropout would change the gradients. A model that is
    checkpointed already stays as it is.
    """
    for blocks in decoder_blocks(model).values():
        for layer in blocks:
            if getattr(layer.forward, "func", None) is _forward:
                continue
            layer.forward = partial(_forward, layer.forward)


def _forward(forward: Any, *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **options)
