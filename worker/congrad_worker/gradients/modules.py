"""Which weights gradients are taken of."""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import nn

from congrad_worker.checkpoints.adapters import Model, decoder_of, is_adapted
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.targets import Target, Use, is_batched, is_routed, is_router, targets_of
from congrad_worker.settings import Layers

ADAPTER_LAYER = re.compile(r"\.(lora_[AB]|modules_to_save)\.")
"""PEFT keeps the two linear layers of a LoRA adapter, and whole modules that are trained beside it, in dictionaries of
these names."""

SHARES: dict[Layers, int] = {"all": 1, "upper-half": 2, "upper-quarter": 4, "upper-eighth": 8}
"""What the number of layers is divided by."""

SAVED = re.compile(r"\.modules_to_save\.\w+$")
"""What PEFT puts after the name of a module that is trained whole."""

ADAPTER_PARAMETER = re.compile(r"\.(lora_\w+|modules_to_save)\.")
"""What training an adapter changes."""

log = logging.getLogger(__name__)


def target_modules(model: Model, pattern: str | None, layers: Layers = "all") -> dict[str, Target]:
    """The adapter's own linear layers where there is an adapter; otherwise those of the decoder blocks, and the experts
    and routers in these that have none.

    Embeddings and the head are left out. ``layers`` and ``pattern`` (a regular expression that must match somewhere in
    the name) narrow the choice.

    :raises CheckpointError: nothing is left, or the blocks cannot be found.
    """
    linear = _block_targets(model, _upper_prefixes(model, layers))
    blocks = "decoder blocks" + ("" if layers == "all" else f" of CONGRAD_LAYERS={layers}")
    has_adapter = is_adapted(model)
    chosen = {name: module for name, module in linear.items() if ADAPTER_LAYER.search(name) or not has_adapter}
    if has_adapter and not chosen:
        config: Any = model.active_peft_config
        kind = config.peft_type.value
        raise CheckpointError(f"CONGRAD_ADAPTER ({kind}) has no linear layers of its own in the {blocks}; LoRA has")
    if pattern is not None and chosen:
        chosen = {name: module for name, module in chosen.items() if re.search(pattern, name)}
        if not chosen:
            where = "the model" if layers == "all" else f"the {blocks}"
            raise CheckpointError(f"CONGRAD_TARGET_MODULES={pattern!r} matches no linear layer of {where}")
    if not chosen:
        raise CheckpointError(f"{type(model).__name__} has no linear layers in its {blocks}")
    if not all(target.weight.is_floating_point() for target in chosen.values()):
        raise CheckpointError("quantised weights are not trained; set CONGRAD_ADAPTER to the adapter that is")
    return chosen


def tied(targets: Mapping[str, Target]) -> dict[str, str]:
    """Targets whose weight is another's too, as Zamba 2 has them, with the first that has it."""
    first: dict[int, str] = {}
    found = {name: first.setdefault(id(target.weight), name) for name, target in targets.items()}
    return {name: earlier for name, earlier in found.items() if name != earlier}


def _block_targets(model: Model, prefixes: tuple[str, ...]) -> dict[str, Target]:
    modules = {path: module for path, module in model.named_modules() if path.startswith(prefixes)}
    mixtures = {_parent(path) for path, module in modules.items() if is_routed(module) or is_batched(module)}
    targets: dict[str, Target] = {}
    for path, module in modules.items():
        targets.update(targets_of(path, module))
        if _parent(path) in mixtures and is_router(module):
            targets[path] = Target(module, "weight", Use.CALL)
    return targets


def _parent(path: str) -> str:
    """The module that the model has this one in, whatever PEFT has put between."""
    return SAVED.sub("", path).rpartition(".")[0]


def coverage(model: Model, targets: Mapping[str, Target]) -> float:
    """The share of the parameters that training changes, the adapter's or the decoder blocks', that are weights of
    ``targets``. Norms, biases and DoRA's magnitudes are little; experts that are no target are most of their model, and
    said so."""
    prefixes = _block_prefixes(model)
    has_adapter = is_adapted(model)
    trained = {
        name: parameter
        for name, parameter in model.named_parameters()
        if (ADAPTER_PARAMETER.search(name) if has_adapter else name.startswith(prefixes))
    }
    taken = {id(target.weight) for target in targets.values()}
    left_out = {name: parameter.numel() for name, parameter in trained.items() if id(parameter) not in taken}
    total = sum(parameter.numel() for parameter in trained.values())
    share = 1 - sum(left_out.values()) / total
    if share < 0.95:
        kinds: Counter[str] = Counter()
        for name, size in left_out.items():
            kinds[re.sub(r"^.*\.\d+\.", "", name)] += size
        most = ", ".join(f"{kind} ({size / total:.1%})" for kind, size in kinds.most_common(3))
        log.warning("gradients are taken of %.1f %% of the parameters; left out are mostly %s", 100 * share, most)
    return share


def decoder_blocks(model: Model) -> dict[str, nn.ModuleList]:
    """The lists of decoder blocks by name: those of the text decoder with an entry for each hidden layer of its config.

    Vision and audio towers may have as many, beside the decoder or deeper within it. Where layers are gone through
    several times (HRM), there are fewer than the config counts, and every list is one of blocks.
    """
    layers = model.config.get_text_config().num_hidden_layers
    decoder = decoder_of(model)
    root = next(name for name, module in model.named_modules() if module is decoder)
    within = {name: module for name, module in decoder.named_modules() if isinstance(module, nn.ModuleList)}
    lists = {name: blocks for name, blocks in within.items() if len(blocks) == layers} or within
    depth = min((name.count(".") for name in lists), default=0)
    return {f"{root}.{name}".lstrip("."): blocks for name, blocks in lists.items() if name.count(".") == depth}


def _upper_prefixes(model: Model, layers: Layers) -> tuple[str, ...]:
    """What the names of modules in the upper layers begin with; of each list of blocks, where there are several."""
    return tuple(
        f"{name}.{number}."
        for name, blocks in decoder_blocks(model).items()
        for number in range(len(blocks) - math.ceil(len(blocks) / SHARES[layers]), len(blocks))
    )


def _block_prefixes(model: Model) -> tuple[str, ...]:
    return tuple(name + "." for name in decoder_blocks(model))
