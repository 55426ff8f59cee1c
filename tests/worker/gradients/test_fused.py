"""Fused norms, which are for GPUs; on a CPU the same function is a chain of operations, and as right."""

import pytest
import torch
from congrad_worker.gradients import fused
from support.architectures import random_model
from torch import nn


@pytest.mark.parametrize(("name", "norms"), [("llama", 5), ("gemma2", 9), ("qwen3", 9), ("gpt2", 0)])
def test_a_norm_is_fused_where_it_computes_the_same(name: str, norms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(name, 128)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            nn.init.normal_(module.weight, std=0.3)  # type: ignore[arg-type]
    ids = torch.randint(1, 128, (1, 12), generator=torch.Generator().manual_seed(0))
    before = model(input_ids=ids).logits
    assert fused.fuse_norms(model) == 0, "not on a CPU"
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    assert fused.fuse_norms(model) == norms
    torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=1e-4, atol=1e-4)
    assert sum(type(getattr(module, "forward", None)).__name__ == "partial" for module in model.modules()) == norms


class OddRMSNorm(nn.Module):
    """Has the name, and computes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.eps = 1e-6

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.weight / inputs.abs().mean(-1, keepdim=True)


def test_what_only_has_the_name_of_a_norm_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    assert fused.fuse_norms(nn.Sequential(OddRMSNorm())) == 0  # type: ignore[arg-type]
