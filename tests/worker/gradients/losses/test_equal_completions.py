"""Pairs whose completions are the same: the gradient of the one completion, times what both sides leave of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import LAYOUTS, GradientEngine
from congrad_worker.gradients.losses.formulas import LOSSES
from congrad_worker.gradients.losses.preference import PairLogps
from congrad_worker.gradients.modules import target_modules
from support.models import checkpoint, settings
from support.properties import assert_rows_match
from transformers import LlamaForCausalLM

TIE = EncodedPair([3, 4], [5, 6, 9], [5, 6, 9], truncated=False)
OTHER = EncodedPair([3, 4], [5, 6], [7], truncated=False)

LEARNT = {"sft", "apo_down"}
"""The losses that move a completion even where it is preferred to itself."""
LEARNT_ELSEWHERE = {"nca_pair", "bco_pair", "sppo_hard"}
"""Those that do so where the policy is not as likely to say it as the reference."""

VARIANTS: list[tuple[dict[str, Any], bool, bool]] = [
    *(({"loss": name}, name in LEARNT, name in LEARNT | LEARNT_ELSEWHERE) for name in LOSSES),
    ({"loss": "sigmoid,sft"}, True, True),
    ({"loss": "sigmoid,sft", "ld_alpha": 0.3}, True, True),
    ({"loss": "sigmoid,ipo,simpo", "loss_weights": "0.3,1.7,0.9"}, False, False),
    ({"loss": "hinge,nca_pair"}, False, True),
    ({"loss": "sigmoid", "f_divergence_type": "forward_kl"}, False, False),
    ({"loss": "sigmoid", "use_weighting": True}, False, False),
    ({"loss": "kto", "desirable_weight": 2.0}, True, True),
]
"""Options, and whether there is a gradient: where the policy is its own reference, and where it is not."""


@dataclass(frozen=True)
class Truth:
    """Of the one completion, in float64: its log-probabilities, and the gradient of the policy's in all weights."""

    logp: float
    reference: float
    gradient: np.ndarray

    def of(self, machine: GradientEngine, given: tuple[float, float]) -> np.ndarray:
        """The gradient of the loss where both sides are the same number; ``given`` are the reference's."""
        logp = torch.tensor([self.logp], dtype=torch.float64, requires_grad=True)
        chosen, rejected = (torch.tensor([value], dtype=torch.float64) for value in given)
        reference = PairLogps(chosen, rejected)
        # What weights are is tested elsewhere; none makes something of nothing.
        weights = torch.ones(1) if machine.loss.weighs_pairs else None
        loss = machine.loss(PairLogps(logp, logp, weights=weights), reference, torch.tensor([[3, 3]]))
        (derivative,) = torch.autograd.grad(loss.sum(), logp)
        return float(derivative) * self.gradient


@pytest.fixture(scope="module")
def truth(small_llama: Path, reference_llama: Path) -> Truth:
    policy, reference = (
        LlamaForCausalLM.from_pretrained(f, dtype=torch.float64).eval() for f in (small_llama, reference_llama)
    )
    names = list(target_modules(policy, None))
    ids = torch.tensor([TIE.prompt_ids + TIE.chosen_ids])

    def logp(model: LlamaForCausalLM) -> torch.Tensor:
        found: torch.Tensor = model(input_ids=ids).logits[0, 1:-1].log_softmax(-1).gather(1, ids[0, 2:, None]).sum()
        return found

    parts = torch.autograd.grad(logp(policy), [policy.get_parameter(f"{name}.weight") for name in names])
    return Truth(
        float(logp(policy).detach()),
        float(logp(reference).detach()),
        torch.cat([part.flatten() for part in parts]).cpu().numpy(),
    )


@pytest.fixture(scope="module")
def checkpoints(small_llama: Path, reference_llama: Path) -> dict[bool, Checkpoint]:
    """By whether the policy is its own reference."""
    return {True: checkpoint(small_llama), False: checkpoint(small_llama, reference=str(reference_llama))}


@pytest.mark.parametrize(("options", "learnt", "learnt_elsewhere"), VARIANTS, ids=lambda value: str(value)[:60])
def test_there_is_a_gradient_where_both_sides_do_not_cancel(
    options: dict[str, Any],
    learnt: bool,
    learnt_elsewhere: bool,
    truth: Truth,
    small_llama: Path,
    checkpoints: dict[bool, Checkpoint],
) -> None:
    if options["loss"] == "exo_pair":
        options = options | {"label_smoothing": 0.01}
    wanted = settings(small_llama, projection="exact", **options)
    own, other = (GradientEngine(checkpoints[is_own], wanted) for is_own in (True, False))
    given = replace(TIE, ref_logps=(truth.logp + 3, truth.logp + 3))
    cases = [
        (own, TIE, (truth.logp, truth.logp), learnt),
        (own, given, (truth.logp + 3, truth.logp + 3), learnt_elsewhere),
        (other, TIE, (truth.reference, truth.reference), learnt_elsewhere),
    ]
    for machine, pair, reference, has_gradient in cases:
        found = machine.compute([OTHER, pair]).values
        expected = truth.of(machine, reference)
        assert (bool(found[0].any()), bool(found[1].any())) == (True, has_gradient)
        assert (np.linalg.norm(expected) > 1e-9 * np.linalg.norm(truth.gradient)) == has_gradient
        if has_gradient:
            in_layouts = [
                machine.batch_gradients([OTHER, machine.seen(pair)], layout)[1].cpu().numpy() for layout in LAYOUTS
            ]
            assert_rows_match(np.stack([found[1], *in_layouts]), np.stack([expected] * (len(LAYOUTS) + 1)), 1e-4)


def test_what_nearly_cancels_is_no_rounding(
    truth: Truth, small_llama: Path, checkpoints: dict[bool, Checkpoint]
) -> None:
    """Both sides have a thousand times the gradient that they leave of each other."""
    machine = GradientEngine(checkpoints[True], settings(small_llama, projection="exact", loss="nca_pair"))
    logp = truth.logp + 0.02
    pair = replace(TIE, ref_logps=(logp, logp))
    expected = truth.of(machine, (logp, logp))
    assert np.linalg.norm(expected) < 1e-3 * 0.1 * np.linalg.norm(truth.gradient)
    for layout in LAYOUTS:
        (found,) = machine.batch_gradients([pair], layout).cpu().numpy()
        assert_rows_match((found / np.linalg.norm(found))[None], (expected / np.linalg.norm(expected))[None], 1e-5)


def test_two_numbers_of_a_reference_for_one_completion_are_no_preference(
    small_llama: Path, checkpoints: dict[bool, Checkpoint]
) -> None:
    """They are rounding, of batches that were padded otherwise."""
    for loss in ("sigmoid", "apo_zero"):
        machine = GradientEngine(checkpoints[True], settings(small_llama, loss=loss))
        assert not machine.compute([replace(TIE, ref_logps=(-20.0, -20.01))]).values.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_completions_without_tokens_have_no_gradient(
    loss: str, small_llama: Path, checkpoints: dict[bool, Checkpoint]
) -> None:
    options = {"label_smoothing": 0.01} if loss == "exo_pair" else {}
    machine = GradientEngine(checkpoints[False], settings(small_llama, loss=loss, **options))
    assert not machine.compute([EncodedPair([3, 4], [], [], truncated=False)]).values.any()
