"""Whether a model has a PEFT adapter. PEFT takes longer to import than torch does, and is where there is one only."""

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union, cast

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
