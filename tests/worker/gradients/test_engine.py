"""Gradients against autograd on the uncompressed parameters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.direction import Samples
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.engine import LAYOUTS, unit_rows
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.modules import target_modules
from congrad_worker.gradients.verification import verified_engine
from support.architectures import save_random_model
from support.autograd import pair_gradient
from support.models import SHARED_CHECKPOINT, SHARED_PAIRS, checkpoint, engine, save_lora, settings
from support.pairs import demo_samples, encoded, file_rows
from support.properties import assert_rows_match, cosine
from transformers import LlamaForCausalLM

needs_shared = pytest.mark.skipif(not SHARED_PAIRS.exists(), reason="the real pairs are not on this machine")


def truths(model: Path, pairs: list[EncodedPair], **options: object) -> np.ndarray:
    loaded = checkpoint(model, **options)
    names = list(target_modules(loaded.model, None))
    return np.stack([pair_gradient(loaded, pair, names) for pair in pairs])


@pytest.fixture(scope="module")
def pairs() -> list[EncodedPair]:
    return encoded(demo_samples("en", "ja", "ar", each=2))


def test_exact_gradients_equal_autograd(small_llama: Path, pairs: list[EncodedPair]) -> None:
    gradients = engine(small_llama, projection="exact").compute(pairs).values
    assert_rows_match(gradients, truths(small_llama, pairs), 1e-5)


@needs_shared
def test_exact_gradients_equal_autograd_on_real_pairs() -> None:
    pairs = encoded(file_rows(SHARED_PAIRS, each=1, languages=4), SHARED_CHECKPOINT)
    gradients = engine(SHARED_CHECKPOINT, projection="exact").compute(pairs).values
    assert_rows_match(gradients, truths(SHARED_CHECKPOINT, pairs), 1e-5)


def test_gradients_of_an_adapter_are_those_of_its_own_layers(
    small_llama: Path, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    adapter = str(save_lora(small_llama, tmp_path))
    loaded = checkpoint(small_llama, adapter=adapter)
    assert set(target_modules(loaded.model, None)) == {
        f"base_model.model.model.layers.{layer}.{module}.lora_{side}.default"
        for layer in range(2)
        for module in ("self_attn.q_proj", "mlp.down_proj")
        for side in "AB"
    }
    gradients = engine(small_llama, adapter=adapter, projection="exact").compute(pairs).values
    assert_rows_match(gradients, truths(small_llama, pairs, adapter=adapter), 1e-5)


def test_a_reference_margin_of_the_sample_sets_its_weight(small_llama: Path, pairs: list[EncodedPair]) -> None:
    pairs = [
        replace(pair, ref_logps=(margin - 40, -40.0)) for pair, margin in zip(pairs, (-30.0, 0.0, 12.5), strict=False)
    ]
    gradients = engine(small_llama, projection="exact").compute(pairs).values
    # σ(−βΔ) turns the rounding of a margin, a sum of hundreds of nats in float32, into a relative error.
    assert_rows_match(gradients, truths(small_llama, pairs), 5e-5)


@pytest.mark.parametrize("reference", ["base", "path"])
def test_a_reference_model_sets_the_weights(
    reference: str, small_llama: Path, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    adapter = str(save_lora(small_llama, tmp_path))
    policy, base = checkpoint(small_llama, adapter=adapter), checkpoint(small_llama)
    wanted = settings(
        small_llama, adapter=adapter, projection="exact", reference="base" if reference == "base" else str(small_llama)
    )
    loaded = load(locate(wanted), wanted)
    gradients = verified_engine(loaded, wanted).compute(pairs).values
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    names = list(target_modules(policy.model, None))
    with_margins = [replace(pair, ref_logps=(_margin(base.model, pair), 0.0)) for pair in pairs]
    assert_rows_match(gradients, np.stack([pair_gradient(policy, pair, names) for pair in with_margins]), 5e-5)


def _margin(model: torch.nn.Module, pair: EncodedPair) -> float:
    with torch.no_grad():
        sums = []
        for completion in (pair.chosen_ids, pair.rejected_ids):
            ids = torch.tensor([pair.prompt_ids + completion])
            log_probs = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
            sums.append(log_probs[len(pair.prompt_ids) - 1 :].sum())
    return float(sums[0] - sums[1])


@pytest.mark.parametrize("projection", ["kronecker", "flora", "exact"])
def test_a_sample_alone_and_padded_in_a_batch_has_the_same_gradient(
    projection: str, small_llama: Path, pairs: list[EncodedPair]
) -> None:
    machine = engine(small_llama, projection=projection)
    short = EncodedPair([5, 6], [7, 2], [8, 9, 2], truncated=False)
    together = machine.compute([*pairs, short]).values
    alone = np.concatenate([machine.compute([pair]).values for pair in [*pairs, short]])
    assert min(cosine(a, b) for a, b in zip(together, alone, strict=True)) >= 0.9999
    assert_rows_match(together, alone, 1e-4)


def test_the_size_of_micro_batches_changes_nothing(small_llama: Path, pairs: list[EncodedPair]) -> None:
    large = engine(small_llama, max_batch_tokens=100_000).compute(pairs).values
    small = engine(small_llama, max_batch_tokens=1).compute(pairs).values
    assert_rows_match(small, large, 1e-4)


def test_a_tie_has_a_zero_gradient(small_llama: Path, pairs: list[EncodedPair]) -> None:
    tie = EncodedPair([5, 6], [7, 8, 2], [7, 8, 2], truncated=False)
    gradients = engine(small_llama).compute([pairs[0], tie]).values
    assert not gradients[1].any()
    assert gradients[0].any()


def test_a_gradient_that_is_not_finite_leaves_its_batch_alone(small_llama: Path, pairs: list[EncodedPair]) -> None:
    loaded = checkpoint(small_llama)
    machine = verified_engine(loaded, settings(small_llama))
    # The head is tied to the embeddings; with a copy of its own, a NaN in one of them stays there.
    head = loaded.model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.clone(), requires_grad=False)
    expected = machine.compute(pairs).values
    poison = max(token for pair in pairs for token in pair.prompt_ids + pair.chosen_ids + pair.rejected_ids) + 1
    with torch.no_grad():
        loaded.input_embeddings.weight[poison] = float("nan")
    bad = EncodedPair([5, poison], [7, 2], [8, 2], truncated=False)
    gradients = machine.compute([*pairs, bad]).values
    assert_rows_match(gradients[:-1], expected, 1e-4)
    samples = Samples.of(gradients, ["en"] * len(gradients))
    assert samples.usable.tolist() == [True] * len(pairs) + [False]
    assert not samples.units[-1].any()


def test_target_modules_narrow_the_choice(small_llama: Path, pairs: list[EncodedPair]) -> None:
    machine = engine(small_llama, projection="exact", target_modules=r"layers\.1\.mlp")
    loaded = checkpoint(small_llama)
    names = [name for name in target_modules(loaded.model, None) if "layers.1.mlp" in name]
    assert list(machine.modules) == names
    assert len(names) == 3
    assert_rows_match(
        machine.compute(pairs[:2]).values, np.stack([pair_gradient(loaded, p, names) for p in pairs[:2]]), 1e-5
    )


@pytest.mark.parametrize(
    ("layers", "lowest"), [("all", 0), ("upper-half", 2), ("upper-quarter", 3), ("upper-eighth", 4)]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_upper_layers_have_the_gradients_that_autograd_finds_there_and_no_backward_pass_goes_below(
    layers: str, lowest: int, layout: Layout, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    """Of five layers: shares are rounded up."""
    model = save_random_model(tmp_path, "llama", num_hidden_layers=5)
    machine = engine(model, projection="exact", layers=layers)
    loaded = machine.checkpoint
    names = [name for name in target_modules(loaded.model, None) if int(name.split(".")[2]) >= lowest]
    assert list(machine.modules) == names
    assert len(names) == 7 * (5 - lowest)
    truth = np.stack([pair_gradient(loaded, pair, names) for pair in pairs[:2]])
    differentiated: list[bool] = []
    for layer in loaded.model.model.layers:
        layer.register_forward_hook(lambda *seen: differentiated.append(seen[-1].requires_grad))
    assert_rows_match(machine.batch_gradients(pairs[:2], layout).cpu().numpy(), truth, 1e-5)
    assert differentiated == [False] * lowest + [True] * (5 - lowest)


def test_layers_of_an_adapter_are_those_of_its_base(small_llama: Path, tmp_path: Path) -> None:
    machine = engine(small_llama, adapter=str(save_lora(small_llama, tmp_path)), layers="upper-half")
    assert {name.split(".")[4] for name in machine.modules} == {"1"}
    assert all("lora" in name for name in machine.modules)


def test_a_pattern_that_matches_nothing_in_the_upper_layers_is_refused(small_llama: Path) -> None:
    with pytest.raises(CheckpointError, match="no linear layer of the decoder blocks of CONGRAD_LAYERS=upper-half"):
        engine(small_llama, target_modules=r"layers\.0\.", layers="upper-half")


def test_gradients_that_redis_could_not_hold_are_refused_at_the_start(
    small_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("congrad_worker.gradients.engine.MAX_DIM", 1000)
    with pytest.raises(CheckpointError, match="numbers, and 1000 at most are kept"):
        engine(small_llama, projection="exact")


def test_unit_gradients_have_the_directions_of_the_others_and_length_one(
    small_llama: Path, pairs: list[EncodedPair]
) -> None:
    tie = EncodedPair([5], [7, 2], [7, 2], truncated=False)
    found = engine(small_llama, unit_gradients=True).compute([*pairs, tie]).values
    whole = engine(small_llama).compute(pairs).values
    assert np.linalg.norm(found[:-1], axis=1) == pytest.approx(1, abs=1e-6)
    assert_rows_match(found[:-1] * np.linalg.norm(whole, axis=1, keepdims=True), whole, 1e-5)
    assert not found[-1].any()


def test_unit_gradients_leave_rows_without_a_length_as_they_are() -> None:
    rows = unit_rows(np.array([[3e38, 3e38], [0, 0], [np.inf, 1], [1e-30, 0]], dtype=np.float32))
    assert rows[0] == pytest.approx(0.5**0.5)
    assert rows[[1, 3]].tolist() == [[0, 0], [1, 0]]
    assert np.isinf(rows[2, 0])


def test_half_precision_in_redis_keeps_the_gradients() -> None:
    draw = np.random.default_rng(0)
    gradients = (draw.standard_normal((4, 16_384)) * np.array([[1e-9], [1.0], [1e4], [0.0]])).astype(np.float32)
    samples = Samples.of(gradients, ["en"] * 4)
    restored = samples.gradients(np.arange(3))
    assert_rows_match(restored, gradients[:3], 1e-3)
    assert samples.usable.tolist() == [True, True, True, False]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_the_gradients_of_pairs_that_are_learnt(
    dtype: str, small_llama: Path, pairs: list[EncodedPair]
) -> None:
    """With βΔ = 12 a pair's gradient is six orders of magnitude below that of one that is not learnt."""
    plain = checkpoint(small_llama)
    learnt = [replace(pair, ref_logps=(_margin(plain.model, pair) - 120.0, 0.0)) for pair in pairs]
    gradients = engine(small_llama, dtype=dtype, projection="exact").compute(learnt).values
    expected = truths(small_llama, learnt)
    assert min(cosine(row, truth) for row, truth in zip(gradients, expected, strict=True)) >= 0.98
    ratios = np.linalg.norm(gradients, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.all((ratios > 0.5) & (ratios < 2.0)), ratios  # the margin is rounded too


def test_an_adapter_stays_frozen_when_its_reference_fails(small_llama: Path, tmp_path: Path) -> None:
    loaded = checkpoint(small_llama, adapter=str(save_lora(small_llama, tmp_path)), reference="base")
    with pytest.raises(torch.OutOfMemoryError), loaded.as_reference():
        raise torch.OutOfMemoryError("CUDA out of memory.")
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def wide_gradient(folder: Path, pair: EncodedPair, beta: float) -> np.ndarray:
    """The gradient of a pair's DPO loss in all linear layers, float64. Llama's norms and its attention round to float32
    whatever they are given, and so have no part in the multiplication with what is small."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    assert pair.ref_logps is not None
    sums = []
    for completion in (pair.chosen_ids, pair.rejected_ids):
        ids = torch.tensor([pair.prompt_ids + completion])
        log_probs = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
        sums.append(log_probs[len(pair.prompt_ids) - 1 :].sum())
    delta = sums[0] - sums[1] - (pair.ref_logps[0] - pair.ref_logps[1])
    weights = [model.get_parameter(f"{name}.weight") for name in target_modules(model, None)]
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(delta, weights)]).cpu().numpy()
    end = delta.detach().requires_grad_()
    (coefficient,) = torch.autograd.grad(-torch.nn.functional.logsigmoid(beta * end), end)
    found: np.ndarray = gradient * float(coefficient)
    return found


@pytest.mark.parametrize(("beta", "distance"), [(0.1, 1000), (10.0, 9.5), (0.1, 3000), (10.0, 40)])
def test_a_unit_gradient_is_exact_however_small_its_coefficient(
    beta: float, distance: float, small_llama: Path, pairs: list[EncodedPair]
) -> None:
    """σ(-βΔ) is 1e-42 at βΔ = 95, where float32 holds three bits of it, and 0 in float32 beyond 104."""
    margin = _margin(checkpoint(small_llama).model, pairs[0])
    learnt = replace(pairs[0], ref_logps=(margin - distance, 0.0))
    found = engine(small_llama, unit_gradients=True, projection="exact", beta=beta).compute([learnt, pairs[1]]).values
    expected = wide_gradient(small_llama, learnt, beta)
    assert 0 < np.abs(expected).max() < 1e-37
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)
    expected /= np.abs(expected).max()  # of what is this small, squares are 0 in float64 too
    assert_rows_match(found[:1], (expected / np.linalg.norm(expected))[None], 1e-5)


@pytest.mark.parametrize("exponent", [0, 40, 54, 57, 70, 84])
def test_gradients_that_keep_their_lengths_have_those_of_autograd_as_far_as_float32_goes(
    exponent: float, small_llama: Path, pairs: list[EncodedPair]
) -> None:
    margin = _margin(checkpoint(small_llama).model, pairs[0])
    learnt = replace(pairs[0], ref_logps=(margin - 10 * exponent, 0.0))
    (found,) = engine(small_llama, projection="exact").compute([learnt]).values.astype(np.float64)
    expected = wide_gradient(small_llama, learnt, 0.1)
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=1e-4)
    assert cosine(found / np.linalg.norm(found), expected / np.linalg.norm(expected)) > 1 - 1e-6


def test_a_unit_gradient_is_exact_however_large_its_coefficient(small_llama: Path, pairs: list[EncodedPair]) -> None:
    """Forward KL has e^100 of a completion that the policy gives up, beyond float32, and next to nothing of the
    other: where the gradient points is what moves the one."""
    alone = replace(pairs[0], rejected_ids=[])
    chosen = _chosen_logp(small_llama, pairs[0])
    lost = replace(pairs[0], ref_logps=(chosen + 100, -1000.0))
    given = engine(small_llama, unit_gradients=True, projection="exact", f_divergence_type="forward_kl")
    (found,) = given.compute([lost]).values
    (expected,) = engine(small_llama, unit_gradients=True, projection="exact", loss="sft").compute([alone]).values
    assert_rows_match(found[None], expected[None], 1e-5)


def _chosen_logp(folder: Path, pair: EncodedPair) -> float:
    model = checkpoint(folder).model
    ids = torch.tensor([pair.prompt_ids + pair.chosen_ids], device=model.device)
    logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
    return float(logps[len(pair.prompt_ids) - 1 :].sum())
