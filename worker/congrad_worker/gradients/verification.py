"""What is checked of an engine before it serves: its gradients, against those that autograd finds in the weights.

Hooks see what a model's code does with its modules, not what it should have done: a weight used without calling its
module, pairs mixed by a reshape, positions or masks that an architecture ignores. None of these raises an error, and
all of them change the gradients of two small pairs.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.collector import UnsupportedModuleError
from congrad_worker.gradients.engine import LAYOUTS, GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.losses import PairLogps, TokenLogps
from congrad_worker.gradients.targets import Target
from congrad_worker.settings import GradientSettings

TEXT = "The quick brown fox jumps over the lazy dog, and sixty-four zebras ask: whose turn is it to jump again? "
COMPLETION = 12
"""Tokens of the longer completion of the pair that is checked."""

TOLERANCE = {torch.float32: 1e-3}
HALF_TOLERANCE = 0.1
"""Relative errors: several times what rounding does in another order of operations."""

SHARING_TOLERANCE = 3.0
"""How much less exact sharing may be than two rows are. Positions that a model ignores can cost it little more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What an engine may be used for: the layouts that it is exact in, and why others are not among them."""

    layouts: tuple[Layout, ...]
    reasons: dict[str, str]  # by the name of a layout


def verified_engine(
    checkpoint: Checkpoint, settings: GradientSettings, layouts: Sequence[Layout] = LAYOUTS
) -> GradientEngine:
    """An engine in those of ``layouts`` that it is exact in.

    :raises CheckpointError: its gradients would not be autograd's.
    """
    engine = GradientEngine(checkpoint, settings, layouts)
    verdict = verify(engine)
    for layout, reason in verdict.reasons.items():
        log.warning("%s computes prompts twice, and no pair in %s: %s", checkpoint.name, layout, reason)
    return engine.restricted(verdict.layouts)


def verify(engine: GradientEngine) -> Verdict:
    """Compares gradients of two pairs in one batch, in every layout of the engine.

    :raises CheckpointError: the engine's gradients are not autograd's.
    """
    pairs = probes(engine.checkpoint)
    truth = torch.cat([autograd_gradient(engine, pair) for pair in pairs])
    others = [layout for layout in engine.layouts if layout is not TWO_ROWS]
    if not (truth.isfinite().all() and truth.any(1).all()):
        reason = f"the gradients of test pairs vanish or overflow in {engine.checkpoint.dtype}: not checked"
        return Verdict((TWO_ROWS,), {layout.name: reason for layout in others})
    error = _error_in_two_rows(engine, pairs, truth)
    tolerance = SHARING_TOLERANCE * error + 1e-4
    reasons = {layout.name: _why_not(engine, layout, pairs, truth, tolerance) for layout in others}
    exact = tuple(layout for layout in engine.layouts if not reasons.get(layout.name))
    return Verdict(exact, {name: reason for name, reason in reasons.items() if reason})


def _error_in_two_rows(engine: GradientEngine, pairs: list[EncodedPair], truth: Tensor) -> float:
    """:raises CheckpointError: in the layout that every model can be computed in, this one is not exact."""
    try:
        error = _relative_error(engine.batch_gradients(pairs, TWO_ROWS), truth)
    except Exception as failure:
        reason = str(failure) if isinstance(failure, UnsupportedModuleError) else f"{type(failure).__name__}: {failure}"
        raise CheckpointError(_unsupported(engine, reason)) from failure
    if not error <= TOLERANCE.get(engine.checkpoint.dtype, HALF_TOLERANCE):
        raise CheckpointError(_unsupported(engine, f"its gradients differ from autograd's by {error:.0%}"))
    return error


def _unsupported(engine: GradientEngine, reason: str) -> str:
    return (
        f"{engine.checkpoint.name} is not supported: {reason}; CONGRAD_TARGET_MODULES can narrow the choice of modules"
    )


def _why_not(engine: GradientEngine, layout: Layout, pairs: list[EncodedPair], truth: Tensor, tolerance: float) -> str:
    """Why a layout is not to be used; '' where it is exact."""
    try:
        error = _relative_error(engine.batch_gradients(pairs, layout), truth)
    except torch.OutOfMemoryError:
        raise
    except Exception as refusal:  # whatever an architecture has against masks and positions
        return f"it fails there: {type(refusal).__name__}: {refusal}"
    return "" if error <= tolerance else f"there gradients differ by {error:.1%}"


def _relative_error(values: Tensor, truths: Tensor) -> float:
    """Of the worst row."""
    return float(((values - truths).norm(dim=1) / truths.norm(dim=1)).max())


def probes(checkpoint: Checkpoint) -> list[EncodedPair]:
    """Two short pairs of plain text, one of them longer than the window of sliding attention where there is room."""
    config = checkpoint.model.config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    prompt = max([w for w in windows if w is not None and w + COMPLETION <= checkpoint.max_length], default=COMPLETION)
    ids = checkpoint.tokenizer(TEXT)["input_ids"]
    needed = prompt + 2 * COMPLETION
    ids = (ids * (needed // len(ids) + 1))[:needed]
    return [
        EncodedPair(ids[:prompt], ids[prompt:-COMPLETION], ids[4 - COMPLETION :], truncated=False),
        EncodedPair(ids[2:COMPLETION], ids[-7:], ids[-COMPLETION:-2], truncated=False),
    ]


def autograd_gradient(engine: GradientEngine, pair: EncodedPair) -> Tensor:
    """The compressed gradient of one pair from autograd's own weight gradients: float32 ``[1, D]``.

    A plain forward of each sequence by itself, without padding, masks or hooks on modules. One weight's gradient at a
    time is held.
    """
    target = torch.zeros(1, engine.projection.dim, device=engine.checkpoint.device)
    with torch.enable_grad(), _weight_gradients(engine, target):
        policy = _plain_logps(engine, engine.checkpoint.model, pair)
        with torch.no_grad(), engine.checkpoint.as_reference() as model:
            reference = _plain_logps(engine, model, pair) if model is not None else _detached(policy)
        engine.loss(policy, reference, _lengths(pair, target.device)).sum().backward()
    return target


@contextmanager
def _weight_gradients(engine: GradientEngine, target: Tensor) -> Iterator[None]:
    """Compresses the gradient of each target module's weight into ``target`` as soon as autograd has it."""
    hooks = []
    for name, of_module in engine.modules.items():

        def compress(weight: Tensor, name: str = name, of_module: Target = of_module) -> None:
            assert weight.grad is not None
            engine.projection[name].compress(target, of_module.matrices(weight.grad)[None])
            weight.grad = None

        hooks.append(of_module.weight.requires_grad_().register_post_accumulate_grad_hook(compress))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for of_module in engine.modules.values():
            of_module.weight.requires_grad_(False)


def _plain_logps(engine: GradientEngine, model: torch.nn.Module, pair: EncodedPair) -> PairLogps:
    device = engine.checkpoint.device
    values, collisions, completions, offsets = [], [], [], []
    for side, completion in enumerate((pair.chosen_ids, pair.rejected_ids)):
        ids = torch.tensor([pair.prompt_ids + completion], device=device)
        logits = model(input_ids=ids, use_cache=False).logits[0, len(pair.prompt_ids) - 1 : -1]
        distribution = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
        values.append(distribution.gather(1, ids[0, len(pair.prompt_ids) :, None])[:, 0])
        collisions.append((2 * distribution.detach()).logsumexp(1))
        completions.append(torch.full_like(values[-1], side, dtype=torch.int64))
        offsets.append(torch.arange(len(completion), device=device))
    weighed = torch.cat(collisions) if engine.loss.weighs_pairs else None
    tokens = TokenLogps(torch.cat(values), torch.cat(completions), torch.cat(offsets), weighed)
    return engine.loss.sequence_logps(tokens, _lengths(pair, device))


def _lengths(pair: EncodedPair, device: torch.device) -> Tensor:
    return torch.tensor([[len(pair.chosen_ids), len(pair.rejected_ids)]], device=device)


def _detached(logps: PairLogps) -> PairLogps:
    return PairLogps(logps.chosen.detach(), logps.rejected.detach())
