"""A policy and its reference."""

from pathlib import Path

import pytest
import torch
from support.models import save_small_llama
from transformers import LlamaForCausalLM


@pytest.fixture(scope="module")
def reference_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Near to the policy, so that scores are of a size at which every loss has a slope."""
    folder = save_small_llama(tmp_path_factory.mktemp("reference-llama"))
    model = LlamaForCausalLM.from_pretrained(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.005 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder
