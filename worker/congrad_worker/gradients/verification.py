"""What is found out about an engine before it serves.

Raised as an error is what would make scores wrong: gradients that hooks get otherwise than autograd does, pairs that
are not apart, log-probabilities that are not those of a plain forward pass. A layout that has one of these faults where
another has not is left out. None of them raises an error by itself, and what they do to two small pairs shows in every
precision: see `checks`.
"""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from congrad_worker.checkpoints import tensor_float
from congrad_worker.checkpoints.adapters import base_model
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.checks import agreement, hooks, independence, kernels, probes
from congrad_worker.gradients.collector import UnsupportedModuleError
from congrad_worker.gradients.device import is_out_of_memory
from congrad_worker.gradients.engine import LAYOUTS, GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.settings import GradientSettings

TOLERANCE = {torch.float32: 1e-3}
HALF_TOLERANCE = 0.02
"""Relative errors of a module's gradient: several times what rounding to the dtype does once."""

SHORTEST = 32
"""Tokens that a long probe has at least, however little memory there is."""

log = logging.getLogger(__name__)


class _Fault(Exception):
    """An engine computes something else than it should; the message says what."""


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
    engine, verdict = _rounded_as_it_should(GradientEngine(checkpoint, settings, layouts))
    for layout, reason in verdict.reasons.items():
        log.warning("%s computes no pairs in %s: %s", checkpoint.name, layout, reason)
    if verdict.reasons and verdict.layouts == (TWO_ROWS,):
        log.warning("%s computes prompts twice", checkpoint.name)
    return engine.restricted(verdict.layouts)


def _rounded_as_it_should(engine: GradientEngine) -> tuple[GradientEngine, Verdict]:
    """An engine and its verdict; with the model's own chains of operations where it is exact in more layouts so. In
    half precision fewer operations round otherwise, for which alone a router may choose another expert."""
    if not engine.rounds_otherwise:
        return engine, verify(engine)
    try:
        verdict = verify(engine)
    except CheckpointError:
        verdict = None
    if verdict is not None and not verdict.reasons:
        return engine, verdict
    # Not in the block above: there, the error keeps all tensors of the failed check alive.
    own = engine.unfused()
    with_own = verify(own)
    if verdict is not None and len(verdict.reasons) <= len(with_own.reasons):
        return engine, verdict
    return own, with_own


def verify(engine: GradientEngine) -> Verdict:
    """Checks the layout in two rows, in which every model can be computed, and then the engine's others until one of
    them is exact.

    :raises CheckpointError: there is none that the engine is exact in.
    """
    if reason := kernels.undifferentiable(engine):
        raise _unsupported(engine, f"{reason}, so that an adapter's gradient does not go through it")
    pairs = probes.short_pairs(engine.checkpoint)
    try:
        plain = agreement.plain_logps(engine, pairs[-1])
        _check(engine, TWO_ROWS, pairs, plain)
    except Exception as error:
        if is_out_of_memory(error):
            raise CheckpointError(f"{engine.checkpoint.name}: {engine.checkpoint.device} has no memory left") from error
        raise _unsupported(engine, _said(error)) from error
    reasons: dict[str, str] = {}
    for layout in (layout for layout in engine.layouts if layout is not TWO_ROWS):
        if reason := _why_not(engine, layout, pairs, plain):
            reasons[layout.name] = reason
        else:  # those behind it cost no less, and would be checked for nothing
            return _verdict(engine, (layout, TWO_ROWS), reasons)
    return _verdict(engine, (TWO_ROWS,), reasons)


def _verdict(engine: GradientEngine, exact: Collection[Layout], reasons: dict[str, str]) -> Verdict:
    return Verdict(tuple(layout for layout in engine.layouts if layout in exact), reasons)


def _why_not(engine: GradientEngine, layout: Layout, pairs: Sequence[EncodedPair], plain: Tensor) -> str:
    """Why a layout is not to be used; '' where it is exact."""
    try:
        _check(engine, layout, pairs, plain)
        _check_at_length(engine, layout)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return _said(error)  # whatever an architecture has against masks and positions
    return ""


def _said(error: Exception) -> str:
    if isinstance(error, UnsupportedModuleError):
        return f"{error}; {_leaving_out([str(error).partition(' ')[0]])}"  # it begins with the module's name
    if isinstance(error, _Fault):
        return str(error)
    return f"it fails with {type(error).__name__}" + (f": {error}" if str(error) else "")


def _check(engine: GradientEngine, layout: Layout, pairs: Sequence[EncodedPair], plain: Tensor) -> None:
    """
    :param plain: log-probabilities of the last pair, which is the shorter one and lies in padding, without a layout.
    :raises _Fault: short pairs show that something is wrong in this layout.
    """
    try:
        compared = hooks.compared(engine, layout, pairs)
    except hooks.NoGradientError as error:
        why = _not_finite(engine) or f"the gradients of test pairs {error} in {engine.checkpoint.dtype}"
        raise _Fault(why) from error
    is_exact = not tensor_float.is_allowed(engine.checkpoint.device)
    tolerance = TOLERANCE.get(engine.checkpoint.dtype, HALF_TOLERANCE) if is_exact else HALF_TOLERANCE
    if wrong := {name: error for name, error in compared.errors.items() if not error <= tolerance}:
        raise _Fault(_culprits(wrong))
    if (change := independence.leak(engine, layout, pairs)) > 0:
        raise _Fault(f"sequences of one batch are not apart: with other tokens in some, others change by {change:.1%}")
    off = agreement.relative(compared.logps, plain)
    if not off <= (rounding := _rounding(engine)):
        raise _Fault(f"log-probabilities differ from those of each sequence alone by {off:.1%}, not {rounding:.2%}")


def _not_finite(engine: GradientEngine) -> str:
    """What a training that has diverged leaves behind, and no dtype mends; '' where all weights are numbers."""
    weights = [(name, p) for name, p in engine.checkpoint.model.named_parameters() if p.is_floating_point()]
    names = [name for name, weight in weights if weight.itemsize > 1 and not weight.isfinite().all()]
    more = f" and {len(names) - 1} more" * (len(names) > 1)
    return f"its weights are not finite: there is NaN or infinity in {names[0]}{more}" if names else ""


def _culprits(errors: Mapping[str, float]) -> str:
    worst = max(errors, key=lambda name: errors[name])
    most = f"those of {worst} differ from autograd's by {errors[worst]:.1%}"
    return f"its gradients are wrong: {most}; {_leaving_out(list(errors))}"


def _leaving_out(names: Sequence[str]) -> str:
    kinds = sorted({re.sub(r"^.*\.\d+\.", "", name) for name in names})
    return f"CONGRAD_TARGET_MODULES='^(?!.*({'|'.join(kinds)})$)' leaves out all such modules"


def _check_at_length(engine: GradientEngine, layout: Layout) -> None:
    """Windows, tables and frequencies may begin to matter anywhere up to the longest sequence that is served.

    :raises _Fault: they do.
    """
    length = engine.checkpoint.max_length
    while True:
        try:
            off = _beyond_rounding(engine, layout, probes.long_pair(engine.checkpoint, length))
            break
        except RuntimeError as error:
            if not is_out_of_memory(error) or length // 2 < SHORTEST:
                raise
            length //= 2  # a longer pair would find no memory for its gradient either
    if off:
        raise _Fault(f"at {length} tokens hidden states differ by {off:.1%} from those of the sequence alone")


def _beyond_rounding(engine: GradientEngine, layout: Layout, pair: EncodedPair) -> float:
    """By how much the rejected branch differs from its sequence alone; 0 where that is rounding."""
    rejected = agreement.states_error(engine, layout, pair, side=1)
    if rejected <= _rounding(engine):
        return 0.0
    chosen = agreement.states_error(engine, layout, pair, side=0)
    return 0.0 if rejected <= agreement.BESIDE_CHOSEN * chosen else rejected


def _rounding(engine: GradientEngine) -> float:
    is_quantised = getattr(base_model(engine.checkpoint.model), "is_quantized", False)
    if is_quantised or tensor_float.is_allowed(engine.checkpoint.device):  # kernels that compute in less than float32
        return agreement.HALF_ROUNDING
    return agreement.ROUNDING.get(engine.checkpoint.dtype, agreement.HALF_ROUNDING)


def _unsupported(engine: GradientEngine, reason: str) -> CheckpointError:
    return CheckpointError(f"{engine.checkpoint.name} is not supported: {reason}")
