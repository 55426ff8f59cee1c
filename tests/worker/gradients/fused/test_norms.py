"""Norms in few operations: PyTorch's kernel on a GPU, a function of ours on a CPU."""

import pytest
import torch
from congrad_worker.gradients.fused import norms
from congrad_worker.gradients.fused.chains import chains
from support.architectures import random_model
from torch import nn

CALLS = {"llama": 5, "gemma2": 9, "qwen3": 9, "gpt2": 0}


@pytest.mark.parametrize("kernels", [("cpu",), ("cuda",)], ids=["kernel", "function"])
@pytest.mark.parametrize("name", list(CALLS))
def test_a_norm_is_fused_where_it_computes_the_same(
    name: str, kernels: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own function stands in for the kernel: on a CPU it is a chain of operations, and as right."""
    monkeypatch.setattr(norms, "KERNELS", kernels)
    model = random_model(name, 128)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            nn.init.normal_(module.weight, std=0.3)  # type: ignore[arg-type]
    assert len(list(norms.fused_norms(model))) == CALLS[name]
    ids = torch.randint(1, 128, (1, 12), generator=torch.Generator().manual_seed(0))
    before, gradient = outputs(model, ids)
    with chains(model).in_place():
        inside = outputs(model, ids)
        assert sum("forward" in vars(module) for module in model.modules()) == CALLS[name]
    torch.testing.assert_close(inside, (before, gradient), rtol=1e-4, atol=1e-4)
    assert not any("forward" in vars(module) for module in model.modules()), "the model's own again"


def outputs(model: nn.Module, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of some of them in the embeddings of tokens."""
    model.requires_grad_(False)
    embedded = model.get_input_embeddings()(ids).requires_grad_()  # type: ignore[operator]
    logits = model(inputs_embeds=embedded).logits
    (gradient,) = torch.autograd.grad(logits[..., 3].sum(), embedded)
    return logits.detach(), gradient


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_kernel_in_half_precision_is_no_further_from_float64_than_the_models_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma adds 1 to its weights in float32."""
    monkeypatch.setattr(norms, "KERNELS", ("cpu",))
    model = random_model(name, 128).bfloat16()
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            nn.init.normal_(module.weight, std=0.3)  # type: ignore[arg-type]
    pairs = list(norms.fused_norms(model))
    assert len(pairs) == CALLS[name]
    for module, norm in pairs:
        weight = module.weight.detach().double()  # type: ignore[operator]
        inputs = torch.randn(64, len(weight), generator=torch.Generator().manual_seed(0)).bfloat16()
        scale = weight + (name == "gemma2")
        exact = torch.nn.functional.rms_norm(inputs.double(), [len(weight)], scale, 1e-6)
        found, own = norm(inputs), module(inputs)
        assert found.dtype == own.dtype == torch.bfloat16
        error, own_error = (float((outputs - exact).norm()) for outputs in (found, own))
        assert error <= 1.02 * own_error


def test_no_norm_in_half_precision_is_fused_on_a_cpu_gemmas_neither() -> None:
    assert not list(norms.fused_norms(random_model("gemma2", 128).bfloat16()))


class OddRMSNorm(nn.Module):
    """Has the name, and computes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.eps = 1e-6

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.weight / inputs.abs().mean(-1, keepdim=True)


def test_what_only_has_the_name_of_a_norm_is_left_as_it_is() -> None:
    assert not list(norms.fused_norms(nn.Sequential(OddRMSNorm())))  # type: ignore[arg-type]


def test_norms_in_half_precision_are_left_as_they_are_on_a_cpu() -> None:
    """transformers' classes compute them in float32."""
    assert not list(norms.fused_norms(random_model("llama", 128).bfloat16()))


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_weight_far_larger_than_the_others_does_not_hide_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In half precision w passed for Gemma's 1 + w, as it is of the large one, and all others were another norm's."""
    monkeypatch.setattr(norms, "KERNELS", ("cpu",))
    model = random_model(name, 128).bfloat16()
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            nn.init.normal_(module.weight, std=0.3)  # type: ignore[arg-type]
            module.weight[3] = 1000.0  # type: ignore[operator]
    pairs = list(norms.fused_norms(model))
    assert len(pairs) == CALLS[name]
    for module, norm in pairs:
        inputs = torch.randn(64, len(module.weight), generator=torch.Generator().manual_seed(0)).bfloat16()  # type: ignore[arg-type]
        others = torch.arange(inputs.shape[-1]) != 3
        torch.testing.assert_close(norm(inputs)[:, others], module(inputs)[:, others], rtol=0.02, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_norm_whose_weights_are_much_alike_is_fused(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hardly has a gradient along its input, in which direction it was compared: many of trained models were not
    fused in half precision, and those of new models not at all."""
    if dtype == torch.bfloat16:
        monkeypatch.setattr(norms, "KERNELS", ("cpu",))
    model = random_model(name, 128)
    model.to(dtype=dtype)  # type: ignore[call-arg]
    for spread in (0.0, 0.1):
        for module in model.modules():
            if type(module).__name__.endswith("RMSNorm"):
                nn.init.normal_(module.weight, mean=0.7, std=spread)  # type: ignore[arg-type]
        assert len(list(norms.fused_norms(model))) == CALLS[name]
