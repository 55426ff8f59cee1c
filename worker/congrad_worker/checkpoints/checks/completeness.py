"""Whether a checkpoint's files hold what its model is made of.

transformers and PEFT make up at random what they do not find, pass over what they have no place for, and warn. A score
from weights that are another draw at every start is worse than none.
"""

import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from congrad_worker.errors import CheckpointError

SOURCES = ("adapters", "prompt_tuning_init_state_dict_path", "shadow_model")
"""Where kinds of adapters that are more than LoRA have further weights from: names on the hub, folders, pickles."""

OWN = (None, "mirror")
"""What such a field holds where there are none; SHADOW's model is then made of the base."""

SHOWN = 3
"""Names in one message."""

BUFFERS = re.compile(r"\.(inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids)$")
"""What older versions of transformers saved beside the weights, and compute by now."""

log = logging.getLogger(__name__)


def check_model(source: str, model: nn.Module, said: Mapping[str, Collection[Any]]) -> None:
    """Checks what transformers said of loading a model: its ``output_loading_info``.

    :param source: the setting and its value, for messages.
    :raises CheckpointError: a weight of the model is not in the files, or its layers have no place for one that is.
    """
    kind = type(model).__name__
    if said["missing_keys"]:
        raise CheckpointError(f"{source}: has no {_some(said['missing_keys'])}, without which {kind} would be random")
    for name, in_files, in_model in said["mismatched_keys"]:
        sizes = f"{list(in_files)} and not {list(in_model)}"
        raise CheckpointError(f"{source}: {name} has the size {sizes}, which {kind}, as its config.json is, needs")
    unused = {name for name in said["unexpected_keys"] if not BUFFERS.search(name)}
    lists = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList))
    if strange := {name for name in unused if name.startswith(lists)}:
        raise CheckpointError(f"{source}: has {_some(strange)}, for which {kind}, as its config.json is, has no place")
    if unused:  # a vision tower of a model that is loaded for its text, heads of other tasks
        log.warning("%s: %s does not use %s", source, kind, _some(unused))


def check_adapter(source: str, missing: Collection[str], unexpected: Collection[str]) -> None:
    """Checks what PEFT said of loading an adapter.

    :raises CheckpointError: a weight of the adapter is not in its file, or the model has no place for one that is.
    """
    if missing:
        raise CheckpointError(f"{source}: has no {_some(missing)}, without which the adapter would be random")
    if unexpected:
        raise CheckpointError(f"{source}: has {_some(unexpected)}, for which the model has no place")


def check_own_weights(source: str, config: Any) -> None:
    """Checks an adapter's configuration before PEFT acts on it.

    :raises CheckpointError: it names weights elsewhere, which nobody has allowed and no fingerprint is made of.
    """
    for name in SOURCES:
        if getattr(config, name, None) not in OWN:
            raise CheckpointError(
                f"{source}: adapter_config.json has weights from elsewhere as {name}, and they are not loaded"
            )


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
