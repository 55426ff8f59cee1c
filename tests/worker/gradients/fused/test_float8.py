"""Products in 8 bits, by the kernel that a CPU has of them: the same function of PyTorch's as on a GPU."""

import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from congrad_worker.decisions.direction import Samples
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.fused.float8 import Float8Linear, Rounded, float8_products
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from pydantic import ValidationError
from scipy.stats import spearmanr
from support.architectures import random_model
from support.models import DEMO_CHECKPOINT, checkpoint, save_lora, settings
from support.pairs import demo_samples, encoded
from torch import Tensor, nn

from benchmarks.fidelity import conflict_scores

EXPONENTS = torch.tensor([[1.0], [2.0**-20], [2.0**20], [0.0]])


def linear(bias: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 64, bias=bias, dtype=torch.bfloat16).requires_grad_(False)


def rows(count: int, size: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, size, dtype=torch.bfloat16)


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


def test_each_row_is_rounded_to_four_bits_of_its_own_size() -> None:
    """Half a unit in the last of three bits of mantissa, and one bit before them: 1/16; and rounding before that."""
    matrix = rows(4, 96) * EXPONENTS.bfloat16()
    found = Rounded.of(matrix)
    assert found.values.dtype == torch.float8_e4m3fn
    values = found.values.double() * found.scales.double()
    assert torch.equal(values[3], torch.zeros(96))
    large = matrix.abs() > matrix.abs().amax(dim=1, keepdim=True) / 100
    assert ((values - matrix.double()).abs() <= matrix.double().abs() / 15.5)[large].all()
    assert (values != matrix.double()).any()


@pytest.mark.parametrize("bias", [False, True])
def test_a_forward_pass_has_all_its_bits(bias: bool) -> None:
    layer, inputs = linear(bias), rows(7, 96).reshape(1, 7, 96)
    assert torch.equal(Float8Linear(layer)(inputs), layer(inputs))


def test_gradients_go_through_the_weight_in_eight_bits_and_the_weights_own_is_not_rounded() -> None:
    layer, inputs, gradient = linear(bias=True), rows(7, 96).requires_grad_(), rows(7, 64)
    layer.weight.requires_grad_()
    Float8Linear(layer)(inputs[None]).backward(gradient[None])
    assert inputs.grad is not None
    assert layer.weight.grad is not None
    weight = layer.weight.detach()
    values = [one.values.double() * one.scales.double() for one in map(Rounded.of, (gradient, weight.mT))]
    assert error(inputs.grad, values[0] @ values[1].T) < 0.005
    assert 0.01 < error(inputs.grad, gradient.double() @ weight.double()) < 0.05
    assert error(layer.weight.grad, gradient.double().T @ inputs.detach().double()) < 0.005


def test_nothing_is_kept_for_a_gradient_that_nobody_asks_for() -> None:
    found = Float8Linear(linear())(rows(7, 96).requires_grad_())
    assert found.grad_fn is not None
    assert not [one for one in found.grad_fn.saved_tensors if one is not None]  # type: ignore[attr-defined]


def test_scores_hardly_change() -> None:
    pairs, loaded = demo_samples(each=1), checkpoint(DEMO_CHECKPOINT, dtype="bfloat16", max_length=64)
    languages = [pair["language"] for pair in pairs]

    def scores(fp8: bool) -> np.ndarray:
        own = settings(DEMO_CHECKPOINT, dtype="bfloat16", unit_gradients=True, fp8=fp8)
        gradients = GradientEngine(loaded, own).compute(encoded(pairs)).values
        return conflict_scores(Samples.of(gradients, languages, {}))

    eight, sixteen = scores(fp8=True), scores(fp8=False)
    assert (eight != sixteen).all()
    assert spearmanr(eight, sixteen).statistic > 0.98


def test_an_engine_is_checked_as_any_other(small_llama: Path) -> None:
    given = {"dtype": "bfloat16", "fp8": True, "max_length": 64}
    served = verified_engine(checkpoint(small_llama, **given), settings(small_llama, **given))
    assert served.layouts == (PACKED_ROW, TWO_ROWS)


def test_an_adapters_own_layers_keep_their_bits(small_llama: Path, tmp_path: Path) -> None:
    adapter = save_lora(small_llama, tmp_path / "lora")
    given = {"adapter": str(adapter), "dtype": "bfloat16"}
    loaded = checkpoint(small_llama, **given)
    replaced = {id(module) for module, _, _ in float8_products(loaded.model)._found}
    names = {name for name, module in loaded.model.named_modules() if id(module) in replaced}
    assert names
    assert all("base_layer" in name or "lora_" not in name for name in names)
    pairs = encoded(demo_samples("de", "fr", each=2), small_llama)
    eight, sixteen = (
        GradientEngine(loaded, settings(small_llama, fp8=fp8, **given)).compute(pairs).values for fp8 in (True, False)
    )
    cosines = (eight * sixteen).sum(1) / np.linalg.norm(eight, axis=1) / np.linalg.norm(sixteen, axis=1)
    assert (cosines > 0.95).all()
    assert (eight != sixteen).any()


def test_engines_on_one_base_share_its_rounded_weights_and_leave_none_behind() -> None:
    model = random_model("llama", 128).bfloat16()
    first, second = float8_products(model), float8_products(model)
    assert first._found == second._found
    known = [weakref.ref(product) for _, _, product in first._found]
    del first, second
    assert not any(product() for product in known)


def test_the_models_own_layers_are_there_again_after_a_pass() -> None:
    model = random_model("llama", 128).bfloat16()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    products = float8_products(model)
    with suppress(RuntimeError), products.in_place():
        assert any("forward" in vars(layer) for layer in layers)
        raise RuntimeError
    assert not any("forward" in vars(layer) for layer in layers)


def test_a_checkpoint_in_other_bits_is_refused() -> None:
    with pytest.raises(CheckpointError, match="for linear layers in bfloat16, and the checkpoint has none"):
        GradientEngine(checkpoint(DEMO_CHECKPOINT), settings(DEMO_CHECKPOINT, dtype="auto", fp8=True))


def test_a_device_without_such_products_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise RuntimeError("scaled_mm is only supported on devices with compute capability >= 9.0\n  more")

    monkeypatch.setattr(F, "scaled_mm", refuse)
    with pytest.raises(CheckpointError, match=r"CONGRAD_FP8: cpu has no products of 8 bits by rows: .* >= 9.0$"):
        float8_products(random_model("llama", 128).bfloat16())


def test_a_torch_without_such_products_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(F, "scaled_mm")
    with pytest.raises(CheckpointError, match=r"CONGRAD_FP8: PyTorch \S+ has no scaled_mm"):
        float8_products(random_model("llama", 128).bfloat16())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dtype": "float32"}, "rounds bfloat16 to 8 bits, and CONGRAD_DTYPE is float32"),
        ({"dtype": "auto", "load_in_4bit": True}, "has no effect with CONGRAD_LOAD_IN_4BIT=true"),
    ],
)
def test_settings_that_go_against_it_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(DEMO_CHECKPOINT, fp8=True, **given)
