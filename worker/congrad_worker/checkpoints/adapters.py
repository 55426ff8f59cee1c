"""Whether a model has a PEFT adapter. PEFT takes longer to import than torch does, and is where there is one only."""

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Model: TypeAlias = Union["PreTrainedModel", "PeftModel"]  # `|` is not for names in quotes
"""A causal language model, with an adapter or without."""


def is_adapted(model: Model) -> "TypeGuard[PeftModel]":
    """Whether the model has an adapter. Where PEFT was never imported none has."""
    peft: Any = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)
