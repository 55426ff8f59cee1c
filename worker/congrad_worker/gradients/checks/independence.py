"""Whether what shares a batch is apart: a pair from the others and from padding, and one branch from the other.

With other tokens wherever it must not look, a sequence has the same hidden states to the last bit: the shapes are the
same, and so is every product. State that a model carries from one token to the next (Mamba, convolutions) gives it away
in any precision.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.checks.probes import other_tokens
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.losses.logps import decoder_output, hidden_states

CHOICES = 0.3
"""More than rounding does to hidden states, even where it has a router choose another expert for a token."""


def leak(engine: GradientEngine, layout: Layout, pairs: Sequence[EncodedPair]) -> float:
    """How much the hidden states of the last pair's prompt and rejected completion change, relative to their size, when
    its chosen completion, padding, and all other pairs have other tokens; 0 where that is nothing but rounding.

    Experts have the tokens of all sequences in one product, whose rounding depends on how many there are. So where bits
    differ, it is asked whether there is any path from the ones to the others: their derivative.
    """
    batch = layout.batch(pairs, engine.checkpoint.pad_id).to(engine.checkpoint.device)
    kept = kept_tokens(layout, pairs, batch)
    other = other_tokens(
        [number for pair in pairs for number in (*pair.prompt_ids, *pair.chosen_ids, *pair.rejected_ids)]
    )
    ids = batch.input_ids.cpu()
    changed = torch.tensor([other.get(number, next(iter(other))) for number in ids.flatten().tolist()]).view_as(ids)
    ids = torch.where(kept, ids, changed).to(batch.input_ids.device)
    with torch.no_grad(), engine.running(batch, layout):
        before, after = (_states(engine, b, kept) for b in (batch, replace(batch, input_ids=ids)))
    if torch.equal(before, after):
        return 0.0
    difference = float((after - before).float().norm() / before.float().norm())
    return difference if difference > CHOICES or _has_path(engine, layout, batch, kept) else 0.0


def kept_tokens(layout: Layout, pairs: Sequence[EncodedPair], batch: Batch) -> Tensor:
    """The tokens of the last pair's prompt and rejected completion: bool ``[rows, tokens]``."""
    pair = pairs[-1]
    kept = torch.zeros(batch.input_ids.shape, dtype=torch.bool)
    rejected = torch.arange(len(pair.prompt_ids) + len(pair.rejected_ids))
    for side, tokens in ((0, rejected[: pair.spans.trunk]), (1, rejected)):
        row, columns = layout.place(pair, side, tokens)
        kept.view(-1)[batch.extents.starts[-1] + row * kept.shape[1] + columns] = True
    return kept


def _states(engine: GradientEngine, batch: Batch, kept: Tensor) -> Tensor:
    states = hidden_states(decoder_output(engine.checkpoint.model, batch))
    return states[kept.to(states.device)]


def _has_path(engine: GradientEngine, layout: Layout, batch: Batch, kept: Tensor) -> bool:
    """Whether the states of the tokens that are kept have a derivative in the embeddings of any other."""
    embedded: list[Tensor] = []

    def keep(_: torch.nn.Module, __: object, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    hook = engine.checkpoint.input_embeddings.register_forward_hook(keep)
    try:
        with torch.enable_grad(), engine.running(batch, layout):
            states = _states(engine, batch, kept)
            (gradient,) = torch.autograd.grad(states, embedded[:1], torch.ones_like(states))
    finally:
        hook.remove()
    return bool(gradient[~kept.to(gradient.device)].any())
