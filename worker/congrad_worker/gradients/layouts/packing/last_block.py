"""What a model's last block computes beside its attention, for those tokens alone that predict one.

What a block puts out for a token is for the attention of the next, and for the head where the token predicts one. After
the last block there is no attention: once that block has a prompt's keys and values, the rest of what it computes for
the prompt is looked at by nobody, and its gradient is zero.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from congrad_worker.checkpoints.adapters import decoder_of
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.gradients.fused.likeness import are_alike, drawn
from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.modules import decoder_blocks
from congrad_worker.gradients.targets import is_batched, is_routed

PROBE = 4
"""Tokens that are computed to see what a block calls."""


class LastBlock:
    """The parts of a model's last block, its feed-forward network mostly, that compute each token by itself."""

    def __init__(self, parts: Sequence[nn.Module]):
        self._parts = tuple(parts)

    @contextmanager
    def predicting(self, batch: Batch) -> Iterator[None]:
        """For the time of a batch, they compute the tokens that predict, and put out zeros for the others."""
        with ExitStack() as hooks:
            if batch.predicting is not None:
                for part in self._parts:
                    narrowed, widened = _hooks(batch.predicting.tokens, batch.extents.shape[1])
                    hooks.callback(part.register_forward_pre_hook(narrowed).remove)
                    hooks.callback(part.register_forward_hook(widened).remove)
            yield


def _hooks(tokens: Tensor, count: int) -> tuple[Any, Any]:
    def narrowed(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].index_select(1, tokens.to(inputs[0].device)),)

    def widened(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        row = output.new_zeros(1, count, output.shape[-1])
        return row.index_copy(1, tokens.to(output.device), output)

    return narrowed, widened


def last_block(checkpoint: Checkpoint) -> LastBlock:
    """Which parts of a model's last block compute each token by itself, as a short run shows. There are none in a model
    that has several stacks of blocks, that goes through its blocks several times, or that has shapes alone."""
    stacks = list(decoder_blocks(checkpoint.model).values())
    if len(stacks) != 1 or checkpoint.device.type == "meta":
        return LastBlock(())
    try:
        calls = _calls(checkpoint, list(stacks[0][-1].children()))
        return LastBlock([call.part for call in calls if _is_by_token(call) and _is_dense(call.part)])
    except Exception:  # whatever a model, or a part of it alone, has against being run: its verification tells
        return LastBlock(())


@dataclass(frozen=True)
class _Call:
    part: nn.Module
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Any


@torch.no_grad()
def _calls(checkpoint: Checkpoint, parts: Sequence[nn.Module]) -> list[_Call]:
    """The calls of parts that are called once in a run of the model."""
    calls: list[_Call] = []
    with ExitStack() as hooks:
        for part in parts:
            note = part.register_forward_hook(lambda *call: calls.append(_Call(*call)), with_kwargs=True)
            hooks.callback(note.remove)
        ids = torch.full((1, PROBE), checkpoint.pad_id, device=checkpoint.device)
        decoder_of(checkpoint.model)(input_ids=ids, use_cache=False)
    called = [call.part for call in calls]
    return [call for call in calls if called.count(call.part) == 1]


def _is_by_token(call: _Call) -> bool:
    """Whether what comes out for some tokens is the same without the others."""
    if call.options or len(call.inputs) != 1 or not all(_is_row(value) for value in (*call.inputs, call.output)):
        return False
    part, inputs = call.part, drawn(call.inputs[0].shape, call.inputs[0], seed=0)
    return are_alike(lambda row: part(row)[:, 1:], lambda row: part(row[:, 1:]), [inputs])


def _is_row(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 3 and value.shape[:2] == (1, PROBE)


def _is_dense(part: nn.Module) -> bool:
    """Whether it has matrices, whose products are worth sparing, and no experts: hooks know theirs in whole rows."""
    modules = list(part.modules())
    is_small = all(parameter.ndim < 2 for parameter in part.parameters())
    return not is_small and not any(is_routed(module) or is_batched(module) for module in modules)
