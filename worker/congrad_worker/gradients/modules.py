"""Which linear layers gradients are taken of."""

import logging
import re
from collections import Counter
from collections.abc import Mapping

from torch import nn
from transformers.pytorch_utils import Conv1D

from congrad_worker.checkpoints.adapters import Model, is_adapted
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.projection import LinearShape

ADAPTER_LAYER = re.compile(r"\.lora_[AB]\.")
"""PEFT keeps the two linear layers of a LoRA adapter in module dictionaries of these names."""

ADAPTER_PARAMETER = re.compile(r"\.(lora_\w+|modules_to_save)\.")
"""What training an adapter changes."""

log = logging.getLogger(__name__)


def target_modules(model: Model, pattern: str | None) -> dict[str, nn.Module]:
    """The adapter's own linear layers where there is an adapter; otherwise those of the decoder blocks.

    Embeddings and the head are left out. ``pattern`` (a regular expression that must match somewhere in the name)
    narrows the choice.

    :raises CheckpointError: nothing is left, or the blocks cannot be found.
    """
    prefixes = _block_prefixes(model)
    linear = {name: module for name, module in model.named_modules() if is_linear(module) and name.startswith(prefixes)}
    has_adapter = is_adapted(model)
    chosen = {name: module for name, module in linear.items() if ADAPTER_LAYER.search(name) or not has_adapter}
    if has_adapter and not chosen:
        kind = type(model.base_model).__name__
        raise CheckpointError(
            f"CONGRAD_ADAPTER ({kind}) has no linear layers of its own in the decoder blocks; LoRA has"
        )
    if pattern is not None:
        chosen = {name: module for name, module in chosen.items() if re.search(pattern, name)}
        if not chosen:
            raise CheckpointError(f"CONGRAD_TARGET_MODULES={pattern!r} matches no linear layer of the model")
    if not chosen:
        raise CheckpointError(f"{type(model).__name__} has no linear layers in its decoder blocks")
    if not all(module.get_parameter("weight").is_floating_point() for module in chosen.values()):
        raise CheckpointError("quantised weights are not trained; set CONGRAD_ADAPTER to the adapter that is")
    return chosen


def coverage(model: Model, modules: Mapping[str, nn.Module]) -> float:
    """The share of the parameters that training changes, the adapter's or the decoder blocks', that are weights of
    ``modules``. Norms, biases and DoRA's magnitudes are little; fused experts are most of their model, and said so."""
    prefixes = _block_prefixes(model)
    has_adapter = is_adapted(model)
    trained = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if (ADAPTER_PARAMETER.search(name) if has_adapter else name.startswith(prefixes))
    }
    left_out = {name: size for name, size in trained.items() if name.removesuffix(".weight") not in modules}
    share = 1 - sum(left_out.values()) / sum(trained.values())
    if share < 0.95:
        kinds: Counter[str] = Counter()
        for name, size in left_out.items():
            kinds[re.sub(r"^.*\.\d+\.", "", name)] += size
        most = ", ".join(f"{kind} ({size / sum(trained.values()):.1%})" for kind, size in kinds.most_common(3))
        log.warning("gradients are taken of %.1f %% of the parameters; left out are mostly %s", 100 * share, most)
    return share


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


def decoder_blocks(model: Model) -> dict[str, nn.ModuleList]:
    """The lists of decoder blocks by name: those with one entry for each hidden layer of the config."""
    layers = model.config.get_text_config().num_hidden_layers
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    return {name: blocks for name, blocks in lists.items() if len(blocks) == layers}


def _block_prefixes(model: Model) -> tuple[str, ...]:
    return tuple(name + "." for name in decoder_blocks(model))
