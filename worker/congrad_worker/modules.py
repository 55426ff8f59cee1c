"""Which linear layers gradients are taken of."""

import re
from collections.abc import Iterator

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from congrad_worker.errors import CheckpointError
from congrad_worker.projection import LinearShape

ADAPTER_LAYER = re.compile(r"\.lora_[AB]\.")
"""PEFT keeps the two linear layers of a LoRA adapter in module dictionaries of these names."""


def target_modules(model: PreTrainedModel | PeftModel, pattern: str | None) -> dict[str, nn.Module]:
    """The adapter's own linear layers where there is an adapter; otherwise those of the decoder blocks.

    Embeddings and the head are left out. ``pattern`` (a regular expression that must match somewhere in the name)
    narrows the choice.

    :raises CheckpointError: nothing is left, or the blocks cannot be found.
    """
    linear = {name: module for name, module in model.named_modules() if is_linear(module)}
    chosen = {name: module for name, module in linear.items() if ADAPTER_LAYER.search(name)}
    if not chosen:
        prefixes = tuple(_block_prefixes(model))
        chosen = {name: module for name, module in linear.items() if name.startswith(prefixes)}
    if pattern is not None:
        chosen = {name: module for name, module in chosen.items() if re.search(pattern, name)}
        if not chosen:
            raise CheckpointError(f"CONGRAD_TARGET_MODULES={pattern!r} matches no linear layer of the model")
    if not chosen:
        raise CheckpointError(f"{type(model).__name__} has no linear layers in its decoder blocks")
    return chosen


def is_linear(module: nn.Module) -> bool:
    """Whether a module computes ``x Wᵀ + b``. GPT-2's Conv1D does, with its weight stored transposed."""
    # Conv1D is a plain nn.Module; quantised layers derive from nn.Linear.
    return isinstance(module, nn.Linear | Conv1D) and not hasattr(module, "base_layer")


def linear_shape(module: nn.Module) -> LinearShape:
    """The sizes of a linear layer."""
    if isinstance(module, Conv1D):
        return LinearShape(d_in=module.weight.shape[0], d_out=module.nf)
    assert isinstance(module, nn.Linear)
    return LinearShape(d_in=module.in_features, d_out=module.out_features)


def _block_prefixes(model: PreTrainedModel | PeftModel) -> Iterator[str]:
    """The names of the lists of decoder blocks: those with one entry for each hidden layer of the config."""
    layers = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == layers:
            yield name + "."
