r"""Log-probabilities of completion tokens, without ever holding the logits of more than one chunk of them.

The logits of a batch are ``tokens × vocabulary`` numbers, often more than all activations together. The head is frozen,
so all that the backward pass needs of them is one vector of the hidden size for each token,

.. math:: \nabla_{h_t} \log\pi(y_t) = W^\top (e_{y_t} - \mathrm{softmax}(W h_t)),

which is computed in the same pass as the log-probability itself, chunk by chunk; the loss scales it afterwards.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from congrad_worker.checkpoints.adapters import Model, base_model, decoder_of
from congrad_worker.gradients.layouts.batch import Batch

CHUNK_LOGITS = {"cuda": 2**28, "meta": 2**28, "cpu": 2**22}
"""Logits of one chunk, by the type of device: large enough that the head's weights are not read too often."""

ROWS = 4
"""Tokens of a chunk are a multiple of these, the last one repeated if need be. MKL sums the products of what is left
over one after another, and over a large vocabulary, where most of them cancel, that is 20 times the rounding: a pair
whose completions had one to three tokens more than whole chunks was 2e-4 off."""

Head = Callable[[Tensor], Tensor]


def token_logps(model: Model, batch: Batch) -> Tensor:
    """log π of the completions' tokens given what stands before them, in nats: float32 ``[targets]``.

    Differentiable in the activations of ``model`` where gradients are enabled.
    """
    return _computed(model, batch, with_collisions=False)[0]


def token_logps_and_collisions(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """`token_logps`, and log Σ_v π(v)² over the vocabulary at the same places, which has no gradient: how likely two
    draws of the next token are the same one, in nats."""
    return _computed(model, batch, with_collisions=True)


def _computed(model: Model, batch: Batch, with_collisions: bool) -> tuple[Tensor, Tensor]:
    causal = base_model(model)
    output = decoder_output(model, batch)
    # A model that is divided among devices ends on another one than it begins on.
    states = hidden_states(output).flatten(0, 1)
    hidden = states.index_select(0, batch.targets.sources.to(states.device))  # [targets, hidden size]
    vocabulary = causal.get_output_embeddings().weight.shape[0]
    chunk = max(1, CHUNK_LOGITS.get(hidden.device.type, CHUNK_LOGITS["cpu"]) // (vocabulary * ROWS)) * ROWS
    targets = batch.targets.ids.to(hidden.device)
    parts = _ChunkedLogps.apply(hidden, targets, lambda h: _logits(causal, output, h), chunk, with_collisions)
    logps, collisions = (part.to(batch.targets.ids.device) for part in parts)
    return logps, collisions


def decoder_output(model: Model, batch: Batch) -> ModelOutput:
    """What a model puts out below its head."""
    positions = {} if batch.position_ids is None else _positions(batch)
    output: ModelOutput = decoder_of(model)(input_ids=batch.input_ids, use_cache=False, **positions)
    return output


def hidden_states(output: ModelOutput) -> Tensor:
    """``[rows, tokens, hidden size]``."""
    states: Tensor = output["last_hidden_state"]
    return states


def _positions(batch: Batch) -> dict[str, Tensor]:
    # A mask of ones: without any, transformers would take restarting positions for sequences packed one after another.
    assert batch.position_ids is not None
    return {"position_ids": batch.position_ids, "attention_mask": torch.ones_like(batch.input_ids)}


def _logits(causal: PreTrainedModel, output: ModelOutput, hidden: Tensor) -> Tensor:
    """Logits of hidden states, ``[tokens, hidden size]`` to ``[tokens, vocabulary]``.

    By the model's own code, which may scale or cap what its head puts out. The decoder's part is played by ``output``
    with ``hidden`` in it.
    """
    decoder: Any = decoder_of(causal)
    # Instance attributes win over the class's `forward`, and only this call sees it: a worker has one thread, and the
    # decoder's own hooks, PEFT's and accelerate's included, are put back with it.
    played = type(output)(**{**output, "last_hidden_state": hidden[None]})
    own = decoder.__dict__.get("forward")
    decoder.forward = lambda *_, **__: played
    try:
        logits: Tensor = causal(input_ids=hidden.new_zeros((1, 1), dtype=torch.int64), use_cache=False).logits[0]
    finally:
        del decoder.forward
        if own is not None:
            decoder.forward = own
    return logits


class _ChunkedLogps(torch.autograd.Function):
    """Log-probabilities of targets from hidden states; see the module's docstring."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, head: Head, chunk: int, with_collisions: bool
    ) -> tuple[Tensor, Tensor]:
        """:returns: log-probabilities, and the logarithms of collision probabilities, of no tokens unless wanted."""
        logps = hidden.new_empty(targets.shape, dtype=torch.float32)
        collisions = logps.new_empty(len(targets) if with_collisions else 0)
        gradients = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            index = _in_whole_rows(targets[part])[:, None]
            count = len(targets[part])
            with torch.set_grad_enabled(gradients is not None):
                inputs = _in_whole_rows(hidden[part].detach()).requires_grad_(gradients is not None)
                logits = head(inputs)  # [chunk, vocabulary]
            softmax = _Softmax(logits.detach(), index, with_collisions)
            logps[part] = softmax.logps[:count]
            if with_collisions:
                collisions[part] = softmax.collisions[:count]
            if gradients is not None:
                (gradient,) = torch.autograd.grad(logits, inputs, softmax.minus_targets())
                gradients[part] = gradient[:count]
        ctx.mark_non_differentiable(collisions)
        if gradients is not None:
            ctx.save_for_backward(gradients)
        return logps, collisions

    @staticmethod
    def backward(ctx: Any, scales: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradients,) = ctx.saved_tensors
        return gradients * -scales[:, None].to(gradients.dtype), None, None, None, None


class _Softmax:
    """The distributions of one chunk's tokens, and where in them the targets are.

    Their probabilities' sum is `torch.sum`'s, which adds sums of sums: `torch.log_softmax` adds one number after
    another, by which that of 50,000 is wrong by 2e-6.

    :param logits: ``[tokens, vocabulary]``.
    :param index: ids of the targets, ``[tokens, 1]``.
    :ivar logps: log π of the targets in nats, ``[tokens]``.
    :ivar collisions: log Σ_v π(v)², ``[tokens]``; none unless wanted.
    """

    def __init__(self, logits: Tensor, index: Tensor, with_collisions: bool):
        self._dtype, self._index = logits.dtype, index
        shifted = logits - logits.amax(dim=-1, keepdim=True).float()  # in float32, in one pass
        targets = shifted.gather(1, index)
        self._exponentials = shifted.exp_()
        norms = torch.linalg.vector_norm(shifted, dim=1) if with_collisions else shifted.new_empty(0)
        self._others = shifted.scatter_(1, index, 0.0).sum(dim=-1, keepdim=True)
        self._total = self._others + targets.exp()
        self.logps = (targets - self._total.log())[:, 0]
        self.collisions = 2 * (norms / self._total[:, 0]).log() if with_collisions else norms

    def minus_targets(self) -> Tensor:
        """softmax - e_y, the gradient of -log π in the logits, in their dtype; once, for it takes their place.

        At the target it is what all others have together. As a probability less one it would be nothing but rounding
        where a model is sure of it.
        """
        numerators = self._exponentials.scatter_(1, self._index, -self._others)
        is_same = numerators.dtype == self._dtype
        found = numerators if is_same else torch.empty_like(numerators, dtype=self._dtype)
        return torch.div(numerators, self._total, out=found)


def _in_whole_rows(values: Tensor) -> Tensor:
    """Values with the last one repeated until there are a multiple of `ROWS`."""
    missing = -len(values) % ROWS
    return torch.cat([values, values[-1:].expand(missing, *values.shape[1:])]) if missing else values
