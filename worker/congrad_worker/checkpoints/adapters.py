"""Whether a model has a PEFT adapter, and how one is taken off its base. PEFT takes longer to import than torch does,
and is where there is one only."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union, cast

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel

Model: TypeAlias = Union["PreTrainedModel", "PeftModel"]  # `|` is not for names in quotes
"""A causal language model, with an adapter or without."""


def is_adapted(model: Model) -> "TypeGuard[PeftModel]":
    """Whether the model has an adapter. Where PEFT was never imported none has."""
    peft: Any = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def base_model(model: Model) -> "PreTrainedModel":
    """The model of transformers' own, with the adapter's layers in it where there is one."""
    return cast("PreTrainedModel", model.get_base_model()) if is_adapted(model) else cast("PreTrainedModel", model)


def decoder_of(model: Model) -> "nn.Module":
    """The language model below its head, without any tower beside it."""
    base = base_model(model)
    decoder: nn.Module = base.get_decoder()
    if decoder is base.get_output_embeddings():  # ModernBERT's head is called a decoder
        return base.base_model
    # Llama 4 says that its decoder has the name that it has in the multimodal model.
    return getattr(base, "model", base) if decoder is base else decoder


PLAIN_INITS = (None, True, False, "gaussian", "orthogonal", "eva")
"""How LoRA's weights may begin without a change of the base's own."""


PLAIN_OPTIONS = frozenset({
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform",
    "loftq_config", "lora_alpha", "lora_bias", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules", "task_type", "use_dora",
    "use_rslora", "velora_config",
})  # fmt: skip
"""What of LoRA only adds to its base, by its name in the configuration. Others, such as `modules_to_save` or
`kasa_config`, change that, and so may those that a later PEFT has."""


def leaves_its_base(folder: Path) -> bool:
    """Whether the adapter in ``folder`` can be put on a base and taken off again, and the base is then what it was:
    LoRA is, in its plain forms. Whole modules stay where PEFT has put them, and other weights than LoRA's own, such as
    embeddings, are written over the base's."""
    try:
        config: Any = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return bool(
            config.get("peft_type") == "LORA"
            and config.get("init_lora_weights") in PLAIN_INITS
            and not any(value for name, value in config.items() if name not in PLAIN_OPTIONS)
            and all(".lora_" in name for name in _weights(folder))
        )
    except (OSError, ValueError, AttributeError):
        return False


def _weights(folder: Path) -> list[str]:
    """The names of an adapter's weights; none where they cannot be read: it cannot be put on anything."""
    try:
        with safe_open(folder / "adapter_model.safetensors", framework="numpy") as weights:
            return list(weights.keys())
    except (OSError, SafetensorError):
        return []


class Arrangement:
    """Which modules a base is made of at present, an adapter's among them: it can have them again, whatever was put in
    their place."""

    def __init__(self, base: "PreTrainedModel"):
        self._base: Any = base
        self._config = vars(base).get("peft_config")
        self._places = [(parent, name, child) for parent in base.modules() for name, child in parent.named_children()]

    def restore(self) -> None:
        """Has all of them again where they were."""
        for parent, name, child in self._places:
            if parent._modules.get(name) is not child:
                setattr(parent, name, child)
        if self._config is not None:
            self._base.peft_config = self._config
        elif "peft_config" in vars(self._base):
            del self._base.peft_config


def take_off(model: Model) -> None:
    """Takes an adapter off its base, which then has its own modules again."""
    if is_adapted(model):
        model.unload()
