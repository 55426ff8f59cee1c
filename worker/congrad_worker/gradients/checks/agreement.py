"""Whether a layout gives what a plain forward pass of each sequence by itself gives: positions, distances and masks."""

from typing import cast

import torch
from torch import Tensor

from congrad_worker.checkpoints.adapters import decoder_of
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.losses.logps import decoder_output, hidden_states

ROUNDING = {torch.float32: 1e-4}
HALF_ROUNDING = 0.03
"""Relative differences that are rounding in another order of operations, of log-probabilities and of hidden states."""

BESIDE_CHOSEN = 3.0
"""How much more than the chosen branch the rejected one may differ, where that is more than rounding usually is: the
chosen one has the positions of its row, and differs by rounding alone."""


@torch.no_grad()
def plain_logps(engine: GradientEngine, pair: EncodedPair) -> Tensor:
    """Log-probabilities of the completions' tokens, each sequence alone, by the model's own head: float32
    ``[tokens]``."""
    return torch.cat([_plain_logps(engine, pair.prompt_ids, ids) for ids in (pair.chosen_ids, pair.rejected_ids)])


def _plain_logps(engine: GradientEngine, prompt: list[int], completion: list[int]) -> Tensor:
    ids = torch.tensor([prompt + completion], device=engine.checkpoint.device)
    logits = engine.checkpoint.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    distribution = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
    return distribution.gather(1, ids[0, len(prompt) :, None].to(distribution.device))[:, 0].to(ids.device)


@torch.no_grad()
def states_error(engine: GradientEngine, layout: Layout, pair: EncodedPair, side: int) -> float:
    """How far the hidden states that predict a completion of a pair are from those of its sequence alone, relative to
    them.

    :param side: 0 for chosen, 1 for rejected.
    """
    batch = layout.batch([pair], engine.checkpoint.pad_id).to(engine.checkpoint.device)
    with engine.running(batch, layout):
        states = hidden_states(decoder_output(engine.checkpoint.model, batch)).flatten(0, 1)
    found = states[batch.targets.sources[batch.targets.completions % 2 == side].to(states.device)]
    sequence = pair.prompt_ids + (pair.chosen_ids, pair.rejected_ids)[side]
    # A pair has the frequencies of its longer sequence.
    padding = [engine.checkpoint.pad_id] * (pair.length - len(sequence)) * bool(engine.checkpoint.thresholds)
    return relative(found, _plain_states(engine, sequence + padding)[len(pair.prompt_ids) - 1 : len(sequence) - 1])


def _plain_states(engine: GradientEngine, ids: list[int]) -> Tensor:
    decoder = decoder_of(engine.checkpoint.model)
    states = decoder(input_ids=torch.tensor([ids], device=engine.checkpoint.device), use_cache=False).last_hidden_state
    return cast("Tensor", states[0])


def relative(found: Tensor, expected: Tensor) -> float:
    """How far numbers are from what they should be, relative to these."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())
