"""Attention in rows that hold a whole pair: trunk, chosen and rejected, where neither branch sees the other.

The model's own code says which layer attends to what (everything before, a window, a chunk), and asks for its masks and
its attention through transformers' interfaces. For the time of a batch these answer with the branches kept apart: a
query sees the trunk and its own branch, at distances counted in the positions of its own sequence.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from congrad_worker.checkpoints.pairs import Spans
from congrad_worker.gradients.layouts.batch import Batch

MASKED = ("sdpa", "eager", "flex_attention")
"""The implementations that take any mask; flash attention's own kernels do not."""


@contextmanager
def branches_apart(batch: Batch) -> Iterator[None]:
    """Keeps the branches of ``batch`` apart in every model that runs inside the block, its backward pass included."""
    masks, attention = ALL_MASK_ATTENTION_FUNCTIONS, ALL_ATTENTION_FUNCTIONS
    # These interfaces are the process's own: nothing else may run a model meanwhile, and a worker has one thread.
    with ExitStack() as overrides:
        for name in MASKED:
            overrides.enter_context(override(masks, name, partial(_mask, name, masks[name], batch)))
        overrides.enter_context(override(attention, "sdpa", BranchAttention(attention["sdpa"], batch.spans)))
        yield


@contextmanager
def override(interface: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Answers with ``function`` for ``name`` inside the block."""
    before = interface.get(name)
    interface[name] = function
    try:
        yield
    finally:
        del interface[name]
        if interface.get(name) is not before:  # somebody's own
            interface[name] = before


def _mask(
    name: str, base: Callable[..., Any], batch: Batch, *, mask_function: Callable[..., Tensor], **options: Any
) -> Any:
    """The mask of one kind of layer; None where `BranchAttention` needs none, because the layer is plainly causal."""
    assert batch.branches is not None
    assert batch.position_ids is not None
    branches, positions = batch.branches, batch.position_ids
    window = options.get("local_size")
    is_causal = window is None or window >= max(spans.longest for spans in batch.spans)
    if name == "sdpa" and is_causal and options["allow_is_causal_skip"]:
        return None

    def apart(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_key = branches[row, key]
        is_visible = (of_key == 0) | (of_key == branches[row, query])
        return is_visible & mask_function(row, head, positions[row, query], positions[row, key])

    # No token sees padding, so transformers' own mask for it is not needed.
    return base(mask_function=apart, **options | {"attention_mask": None, "allow_is_causal_skip": False})


class BranchAttention:
    """Causal attention without a mask over whole rows, which would cost the square of their lengths: trunk and chosen
    are one causal sequence, and the rejected branch attends to the trunk and itself."""

    def __init__(self, base: Callable[..., Any], spans: tuple[Spans, ...]):
        self._base = base
        self._spans = spans
        self._masks: dict[tuple[Spans, torch.device], Tensor] = {}

    def __call__(
        self,
        module: torch.nn.Module,
        query: Tensor,  # [rows, heads, tokens, d]
        key: Tensor,  # [rows, key heads, tokens, d]
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """:returns: ``[rows, tokens, heads, d]``, as transformers' attention functions do."""
        if attention_mask is not None:
            masked: tuple[Tensor, None] = self._base(module, query, key, value, attention_mask, **options)
            return masked
        queries = _Split.apply(query, self._spans, False)
        keys, values = (_Split.apply(vectors, self._spans, True) for vectors in (key, value))
        parts = [
            self._base(module, *sequence, mask, **options)[0]
            for *sequence, mask in zip(queries, keys, values, self._sequence_masks(query), strict=True)
        ]
        joined: Tensor = _Join.apply(self._spans, query.shape[2], *parts)
        return joined, None

    def _sequence_masks(self, like: Tensor) -> Iterator[Tensor | None]:
        """None for a causal sequence; for a rejected branch, additive, ``[1, 1, rejected, trunk + rejected]``: causal,
        with the last query at the last key."""
        for spans in self._spans:
            yield None
            if spans.rejected:
                kind = spans, like.device
                if kind not in self._masks:
                    shape = (1, 1, spans.rejected, spans.trunk + spans.rejected)
                    self._masks[kind] = like.new_full(shape, float("-inf")).triu(spans.trunk + 1)
                yield self._masks[kind]


class _Split(torch.autograd.Function):
    """Rows into sequences: of each ``trunk | chosen`` and, where there is one, ``rejected`` or ``trunk | rejected``.

    Autograd's own slices would each give the backward pass a tensor of the whole batch.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, spans: tuple[Spans, ...], with_trunk: bool) -> tuple[Tensor, ...]:
        """``[rows, heads, tokens, d]`` to ``[1, heads, part, d]`` each."""
        ctx.spans, ctx.with_trunk, ctx.tokens = spans, with_trunk, rows.shape[2]
        sequences = []
        for row, s in zip(rows.split(1), spans, strict=True):
            first = s.trunk + s.chosen
            sequences.append(row[:, :, :first])
            if s.rejected:
                rejected = row[:, :, first : s.total]
                sequences.append(torch.cat((row[:, :, : s.trunk], rejected), dim=2) if with_trunk else rejected)
        return tuple(sequences)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        of_sequences = iter(gradients)
        like = gradients[0]
        rows = like.new_empty((len(ctx.spans), like.shape[1], ctx.tokens, like.shape[3]))
        for row, s in zip(rows.split(1), ctx.spans, strict=True):
            first = s.trunk + s.chosen
            row[:, :, :first] = next(of_sequences)
            if s.rejected:
                rejected = next(of_sequences)
                if ctx.with_trunk:
                    row[:, :, : s.trunk] += rejected[:, :, : s.trunk]
                row[:, :, first : s.total] = rejected[:, :, rejected.shape[2] - s.rejected :]
            row[:, :, s.total :] = 0
        return rows, None, None


class _Join(torch.autograd.Function):
    """The inverse of `_Split` for what attention puts out; padding is zero."""

    @staticmethod
    def forward(ctx: Any, spans: tuple[Spans, ...], tokens: int, *sequences: Tensor) -> Tensor:
        """``[1, part, heads, d]`` each to ``[rows, tokens, heads, d]``."""
        ctx.spans = spans
        like = sequences[0]
        rows = like.new_empty((len(spans), tokens, *like.shape[2:]))
        for part, sequence in zip(_parts(rows, spans), sequences, strict=True):
            part.copy_(sequence)
        for row, s in zip(rows, spans, strict=True):
            row[s.total :] = 0
        return rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *_parts(gradient, ctx.spans)


def _parts(rows: Tensor, spans: tuple[Spans, ...]) -> Iterator[Tensor]:
    """Of rows ``[rows, tokens, ...]`` the parts that attention computes together."""
    for row, s in zip(rows.split(1), spans, strict=True):
        first = s.trunk + s.chosen
        yield row[:, :first]
        if s.rejected:
            yield row[:, first : s.total]
