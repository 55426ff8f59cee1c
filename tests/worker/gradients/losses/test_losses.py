"""Preference losses against TRL's own trainers: values, and gradients in the model's parameters."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad_worker.checkpoints import files
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.losses.formulas import LOSSES
from congrad_worker.gradients.losses.preference import PairLogps, PreferenceLoss, TokenLogps
from congrad_worker.loss_names import LOSS_NAMES, Loss, is_unused
from datasets import Dataset
from pydantic import ValidationError
from support.models import engine, settings
from support.pairs import demo_samples
from support.properties import assert_rows_match
from support.trainers import dpo_trainer
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

BETA = 0.2
VARIANTS: list[dict[str, Any]] = [
    {"loss": "sigmoid"},
    {"loss": "hinge"},
    {"loss": "ipo"},
    {"loss": "robust", "label_smoothing": 0.2},
    {"loss": "sigmoid_norm"},
    {"loss": "sigmoid", "ld_alpha": 0.3},
    {"loss": "sigmoid", "ld_alpha": 0.0},
    {"loss": "ipo", "ld_alpha": 0.3},
    {"loss": "sft"},
    {"loss": "exo_pair", "label_smoothing": 0.01},
    {"loss": "nca_pair"},
    {"loss": "bco_pair"},
    {"loss": "sppo_hard"},
    {"loss": "apo_zero"},
    {"loss": "apo_down"},
    {"loss": "discopop", "discopop_tau": 0.4},
    {"loss": "apo_zero", "ld_alpha": 0.3},
    {"loss": "sigmoid,bco_pair,sft", "loss_weights": "0.8,0.2,1.0"},
    {"loss": "ipo,hinge"},
    {"loss": "sigmoid,sft", "ld_alpha": 0.3},
    {"loss": "sigmoid", "f_divergence_type": "forward_kl"},
    {"loss": "exo_pair", "label_smoothing": 0.1, "f_divergence_type": "js_divergence"},
    {"loss": "ipo", "f_divergence_type": "alpha_divergence"},
    {"loss": "sigmoid_norm", "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.3},
    {"loss": "discopop", "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.0},
    {"loss": "sigmoid,sft", "f_divergence_type": "js_divergence"},
    {"loss": "sigmoid", "use_weighting": True},
    {"loss": "nca_pair,sft", "use_weighting": True, "loss_weights": "1.0,0.5", "ld_alpha": 0.3},
]
NEEDED: dict[str, dict[str, Any]] = {"exo_pair": {"label_smoothing": 0.01}}
"""What cannot be left at its default."""


def loss_of(**options: Any) -> PreferenceLoss:
    return PreferenceLoss(settings(Path("unused"), **NEEDED.get(options.get("loss", ""), {}) | options))


@dataclass(frozen=True)
class Rows:
    """A padded batch as TRL makes it: all chosen completions, then all rejected ones."""

    input_ids: Tensor  # int64 [2 * pairs, tokens]
    completion_mask: Tensor  # bool [2 * pairs, tokens]

    @property
    def lengths(self) -> Tensor:
        return self.completion_mask.sum(1).view(2, -1).T

    def token_logps(self, model: LlamaForCausalLM, with_collisions: bool = False) -> TokenLogps:
        logits = model(input_ids=self.input_ids).logits[:, :-1]
        distribution = logits.log_softmax(-1)
        logps = distribution.gather(2, self.input_ids[:, 1:, None]).squeeze(2)
        mask = self.completion_mask[:, 1:]
        rows, _ = mask.nonzero(as_tuple=True)
        pairs = len(mask) // 2
        completions, offsets = 2 * (rows % pairs) + rows // pairs, (mask.cumsum(1) - 1)[mask]
        collisions = distribution.exp().square().sum(-1).log()[mask] if with_collisions else None
        return TokenLogps(logps[mask], completions, offsets, collisions)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A pair with the longer completion chosen, and one with it rejected.

    They are short: sums over many tokens round, in float32, to more than losses are allowed to differ by.
    """
    rows = demo_samples("en", "de", each=1)
    return Dataset.from_list(
        [
            {"prompt": row["prompt"], "chosen": row["chosen"][:length], "rejected": row["rejected"][: 24 - length]}
            for row, length in zip(rows, (16, 8), strict=True)
        ]
    )


def gradients(losses: Iterable[Tensor], model: torch.nn.Module) -> Tensor:
    """float32 ``[losses, parameters]``."""
    parts = [torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for loss in losses]
    return torch.stack([torch.cat([part.flatten() for part in of_one]) for of_one in parts])


def assert_matches_trainer(
    loss: PreferenceLoss, rows: Rows, folders: tuple[Path, Path], truth: Callable[[int], Tensor], model: torch.nn.Module
) -> None:
    """Losses and gradients of the pairs of ``rows`` together equal ``truth`` of each alone, taken with ``model``."""
    policy, reference = (LlamaForCausalLM.from_pretrained(folder).eval() for folder in folders)
    lengths = rows.lengths
    with torch.no_grad():
        reference_logps = loss.sequence_logps(rows.token_logps(reference), lengths)
    policy_logps = loss.sequence_logps(rows.token_logps(policy, loss.weighs_pairs), lengths)
    losses = loss(policy_logps, reference_logps, lengths)
    truths = torch.stack([truth(pair) for pair in range(len(lengths))])
    torch.testing.assert_close(losses, truths, rtol=1e-5, atol=1e-5)
    expected = gradients(truths, model)
    assert expected.any()
    # Not a ratio: hinge has a zero gradient beyond its margin.
    errors = (gradients(losses, policy) - expected).norm(dim=1)
    assert (errors <= 1e-5 * expected.norm(dim=1)).all(), errors


def name_of(options: dict[str, Any]) -> str:
    return "-".join(map(str, options.values()))


@pytest.mark.parametrize("options", VARIANTS, ids=name_of)
def test_losses_are_those_of_the_dpo_trainer(
    options: dict[str, Any], small_llama: Path, reference_llama: Path, dataset: Dataset, tmp_path: Path
) -> None:
    model = LlamaForCausalLM.from_pretrained(small_llama)
    trainer = dpo_trainer(model, reference_llama, {"beta": BETA} | options, dataset, small_llama, tmp_path)
    examples = list(trainer.train_dataset)
    batch = trainer.data_collator(examples)
    assert_matches_trainer(
        loss_of(**options, **({} if options["loss"] == "sft" else {"beta": BETA})),
        Rows(batch["input_ids"], batch["completion_mask"].bool()),
        (small_llama, reference_llama),
        lambda pair: trainer.compute_loss(model, trainer.data_collator([examples[pair]])),
        model,
    )


@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
def test_simpo_is_that_of_the_cpo_trainer(small_llama: Path, dataset: Dataset, tmp_path: Path) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    model = LlamaForCausalLM.from_pretrained(small_llama)
    trainer: Any = CPOTrainer(
        model,
        CPOConfig(
            str(tmp_path),
            beta=2.0,
            simpo_gamma=1.2,
            loss_type="simpo",
            cpo_alpha=0.0,  # the default, 1.0, adds the chosen completion's own loss
            report_to="none",
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            remove_unused_columns=False,
        ),
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(small_llama),
    )
    examples = list(trainer.train_dataset)
    batch = trainer.concatenated_inputs(trainer.data_collator(examples), padding_value=trainer.pad_token_id)
    assert_matches_trainer(
        loss_of(loss="simpo", beta=2.0, simpo_gamma=1.2),
        Rows(batch["concatenated_input_ids"], batch["concatenated_labels"] != -100),
        (small_llama, small_llama),
        lambda pair: trainer.compute_loss(model, trainer.data_collator([examples[pair]])),
        model,
    )


POLICY = PairLogps(torch.tensor([-30.0, -12.0, -8.0]), torch.tensor([-20.0, -40.0, -9.0]))
REFERENCE = PairLogps(torch.tensor([-28.0, -16.0, -8.5]), torch.tensor([-25.0, -38.0, -7.0]))
LENGTHS = torch.tensor([[12, 10], [5, 25], [4, 4]])


def test_the_length_penalty_asks_more_of_a_shorter_chosen_completion() -> None:
    values = loss_of(loss="lp", beta=0.5, length_penalty=0.1)(POLICY, REFERENCE, LENGTHS)
    # Δ = -7, 6, 2.5; lengths differ by 2, -20, 0
    truth = np.log1p(np.exp(-(0.5 * np.array([-7, 6, 2.5]) + 0.1 * np.array([2, -20, 0]))))
    np.testing.assert_allclose(values, truth, rtol=1e-6)


@pytest.mark.parametrize(
    "limit", [{"loss": "lp", "length_penalty": 0.0}, {"loss": "robust", "label_smoothing": 0.0}, {"ld_alpha": 1.0}]
)
def test_options_at_their_limit_leave_dpo(limit: dict[str, Any]) -> None:
    draw = torch.Generator().manual_seed(0)
    completion = torch.arange(6).repeat_interleave(LENGTHS.flatten())
    offset = torch.cat([torch.arange(length) for length in LENGTHS.flatten().tolist()])
    tokens = TokenLogps(-torch.rand(len(completion), generator=draw), completion, offset)
    dpo, limited = loss_of(), loss_of(**limit)
    expected, values = (loss(loss.sequence_logps(tokens, LENGTHS), REFERENCE, LENGTHS) for loss in (dpo, limited))
    torch.testing.assert_close(values, expected)


def test_length_desensitisation_weighs_the_tokens_beyond_the_shorter_completion() -> None:
    tokens = TokenLogps(
        torch.tensor([-1.0, -2.0, -4.0, -8.0, -16.0]), torch.tensor([0, 1, 1, 1, 0]), torch.tensor([1, 2, 0, 1, 0])
    )
    sums = loss_of(ld_alpha=0.5).sequence_logps(tokens, torch.tensor([[2, 3]]))
    assert (sums.chosen.tolist(), sums.rejected.tolist()) == ([-17.0], [-13.0])


@pytest.mark.parametrize("name", LOSSES)
def test_a_completion_of_no_tokens_leaves_every_loss_and_gradient_finite(name: Loss) -> None:
    values = torch.tensor([-1.0, -2.0, -3.0, -4.0], requires_grad=True)
    tokens = TokenLogps(values, torch.tensor([0, 0, 1, 3]), torch.tensor([0, 1, 0, 0]))
    lengths = torch.tensor([[2, 1], [0, 1]])
    loss = loss_of(loss=name)
    policy = loss.sequence_logps(tokens, lengths)
    losses = loss(policy, PairLogps(policy.chosen.detach(), policy.rejected.detach()), lengths)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert values.grad[:3].any()  # apo_down learns nothing of a chosen completion that the reference finds as likely


@pytest.mark.parametrize("name", LOSSES)
def test_a_pair_that_is_not_finite_leaves_the_others_alone(name: Loss) -> None:
    loss = loss_of(loss=name)
    chosen = POLICY.chosen.clone().requires_grad_()
    expected = torch.autograd.grad(loss(PairLogps(chosen, POLICY.rejected), REFERENCE, LENGTHS).sum(), chosen)[0]
    bad = torch.where(torch.arange(3) == 1, torch.nan, POLICY.chosen).requires_grad_()
    gradient = torch.autograd.grad(loss(PairLogps(bad, POLICY.rejected), REFERENCE, LENGTHS).sum(), bad)[0]
    assert gradient[[0, 2]].equal(expected[[0, 2]])


@pytest.mark.parametrize("name", LOSSES)
def test_losses_do_not_wait_for_the_device(name: Loss) -> None:
    # Tensors of the meta device have no values: whatever would read one on the host, or needs it for a shape, raises.
    loss = loss_of(loss=name, **({} if is_unused("ld_alpha", [name]) else {"ld_alpha": 0.5}))
    values = torch.empty(7, device="meta", requires_grad=True)
    index, lengths = (
        torch.empty(7, dtype=torch.int64, device="meta"),
        torch.empty(3, 2, dtype=torch.int64, device="meta"),
    )
    logps = loss.sequence_logps(TokenLogps(values, index, index), lengths)
    losses = loss(logps, PairLogps(logps.chosen.detach(), logps.rejected.detach()), lengths)
    losses.sum().backward()
    assert losses.shape == (3,)
    assert losses.is_meta


@pytest.mark.parametrize("name", LOSSES)
def test_the_reference_is_looked_at_only_where_it_is_needed(name: Loss) -> None:
    loss = loss_of(loss=name)
    other = PairLogps(REFERENCE.chosen + 3, REFERENCE.rejected - 1)
    values, others = (loss(POLICY, reference, LENGTHS) for reference in (REFERENCE, other))
    assert loss.needs_reference != values.equal(others)


def autograd_gradient(machine: GradientEngine, pair: EncodedPair) -> torch.Tensor:
    """Of the engine's loss in the weights themselves: float32 ``[1, weights]``."""
    weights = [target.weight.requires_grad_() for target in machine.modules.values()]
    batch = TWO_ROWS.batch([pair], machine.checkpoint.pad_id)
    policy = machine._policy_logps(batch)
    loss = machine.loss(policy, machine._reference_logps(batch, policy), batch.lengths).sum()
    gradients = torch.autograd.grad(loss, weights)
    for weight in weights:
        weight.requires_grad_(False)
    return torch.cat([gradient.flatten() for gradient in gradients])[None]


@pytest.mark.parametrize("options", [{"loss": "sigmoid,sft", "ld_alpha": 0.3}, {"use_weighting": True}], ids=name_of)
def test_the_engine_takes_the_gradient_of_the_whole_sum(options: dict[str, Any], small_llama: Path) -> None:
    """What no single loss has: sums of tokens with and without weights, and weights of pairs."""
    machine = engine(small_llama, projection="exact", **options)
    pairs = [EncodedPair([3, 4], [5, 6, 9, 8], [7], truncated=False), EncodedPair([3], [8], [5, 9], truncated=False)]
    truths = torch.cat([autograd_gradient(machine, pair) for pair in pairs])
    assert_rows_match(machine.compute(pairs).values, truths.cpu().numpy(), 1e-5)


def test_every_loss_that_can_be_set_exists() -> None:
    assert set(LOSSES) == set(LOSS_NAMES)


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({"loss": "dpo"}, "loss", "'dpo' is no loss; it should be 'sigmoid', 'hinge'"),
        ({"loss": "sigmoid,"}, "loss", "'' is no loss"),
        ({"loss": "aot"}, "loss", "aot ranks the pairs of a batch among each other"),
        ({"loss": "sft,aot_unpaired"}, "loss", "aot_unpaired ranks the pairs of a batch among each other"),
        ({"loss": "sigmoid,kto"}, "loss", "kto judges one completion by its label, and is not added to other losses"),
        ({"loss_weights": "1"}, "loss_weights", "no effect with one loss, which CONGRAD_LOSS=sigmoid is"),
        ({"loss": "sigmoid,sft", "loss_weights": "1"}, "loss_weights", "should be 2 numbers, one for each loss"),
        ({"loss": "sigmoid,sft", "loss_weights": "1,0"}, "loss_weights", "should be numbers above 0, with commas"),
        ({"loss": "sigmoid,sft", "loss_weights": "1,a"}, "loss_weights", "should be numbers above 0, with commas"),
        ({"loss": "exo_pair", "label_smoothing": 0}, "label_smoothing", "above 0 with CONGRAD_LOSS=exo_pair"),
        ({"discopop_tau": 0.1}, "discopop_tau", "no effect with CONGRAD_LOSS=sigmoid; leave it at 0.05"),
        ({"loss": "kto", "ld_alpha": 0.5}, "ld_alpha", "no effect with CONGRAD_LOSS=kto; leave it unset"),
        ({"f_divergence_type": "kl"}, "f_divergence_type", "'reverse_kl', 'forward_kl'"),
        (
            {"loss": "sigmoid,bco_pair", "f_divergence_type": "forward_kl"},
            "f_divergence_type",
            "forward_kl is not defined for CONGRAD_LOSS=bco_pair, only for losses of the difference of two scores: sig",
        ),
        ({"loss": "kto", "f_divergence_type": "forward_kl"}, "f_divergence_type", "not defined for CONGRAD_LOSS=kto"),
        (
            {"loss": "sft", "f_divergence_type": "forward_kl"},
            "f_divergence_type",
            "no effect with CONGRAD_LOSS=sft; leave it at reverse_kl",
        ),
        ({"f_alpha_divergence_coef": 0.3}, "f_alpha_divergence_coef", "no effect with CONGRAD_F_DIVERGENCE_TYPE=rev"),
        ({"desirable_weight": 2.0}, "desirable_weight", "no effect with CONGRAD_LOSS=sigmoid; leave it at 1.0"),
        ({"loss": "kto", "undesirable_weight": 0}, "undesirable_weight", "greater than 0"),
        (
            {"loss": "sft", "use_weighting": True},
            "use_weighting",
            "no effect with CONGRAD_LOSS=sft; leave it at false",
        ),
        (
            {"use_weighting": True, "unit_gradients": True},
            "use_weighting",
            "no effect with CONGRAD_UNIT_GRADIENTS=true",
        ),
        ({"beta": 0}, "beta", "greater than 0"),
        ({"beta": "inf"}, "beta", "finite"),
        ({"loss": "robust", "label_smoothing": 0.5}, "label_smoothing", "less than 0.5"),
        ({"ld_alpha": 1.1}, "ld_alpha", "less than or equal to 1"),
        ({"label_smoothing": 0.1}, "label_smoothing", "no effect with CONGRAD_LOSS=sigmoid; leave it at 0.0"),
        ({"simpo_gamma": 1.0}, "simpo_gamma", "no effect with CONGRAD_LOSS=sigmoid; leave it at 0.5"),
        ({"length_penalty": 0.1}, "length_penalty", "no effect with CONGRAD_LOSS=sigmoid; leave it at 0.01"),
        ({"loss": "sft", "beta": 0.2}, "beta", "no effect with CONGRAD_LOSS=sft; leave it at 0.1"),
        ({"loss": "sft", "ld_alpha": 0.5}, "ld_alpha", "no effect with CONGRAD_LOSS=sft; leave it unset"),
        ({"loss": "simpo", "reference": "base"}, "reference", "no effect with CONGRAD_LOSS=simpo; leave it at policy"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], name: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        loss_of(**options)
    assert [fault["loc"] for fault in caught.value.errors()] == [(name,)]


def test_losses_that_differ_are_never_mixed(small_llama: Path) -> None:
    """A direction belongs to a fingerprint."""
    variants: list[dict[str, Any]] = [
        *({"loss": name} | NEEDED.get(name, {}) for name in LOSSES),
        {"loss": "robust", "label_smoothing": 0.1},
        {"loss": "simpo", "simpo_gamma": 1.0},
        {"loss": "lp", "length_penalty": 0.1},
        {"ld_alpha": 0.5},
        {"loss": "sigmoid,sft"},
        {"loss": "sigmoid,sft", "loss_weights": "1,0.5"},
        {"loss": "exo_pair", "label_smoothing": 0.1},
        {"loss": "discopop", "discopop_tau": 0.1},
        *({"f_divergence_type": kind} for kind in ("forward_kl", "js_divergence", "alpha_divergence")),
        {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7},
        {"loss": "kto", "desirable_weight": 1.5},
        {"loss": "kto", "undesirable_weight": 1.5},
        {"use_weighting": True},
    ]
    assert len({locate(settings(small_llama, **options)).fingerprint for options in variants}) == len(variants)


@pytest.mark.parametrize(
    ("options", "fingerprint"),
    [
        ({}, "74988d0f11075f54"),
        ({"loss": "robust", "label_smoothing": 0.1, "ld_alpha": 0.5}, "dad50812b7de7c7e"),
        ({"loss": "sft"}, "834641ba370b0e39"),
    ],
)
def test_what_was_served_before_there_were_more_losses_keeps_its_fingerprint(
    options: dict[str, Any], fingerprint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinned: directions belong to these."""
    monkeypatch.setattr(files, "GRADIENTS_VERSION", 2)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    assert locate(settings(tmp_path, unit_gradients=False, dtype="auto", **options)).fingerprint == fingerprint
