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

from congrad_worker.batching import Batch, Spans

MASKED = ("sdpa", "eager", "flex_attention")
"""The implementations that take any mask; flash attention's own kernels do not."""


@contextmanager
def branches_apart(batch: Batch) -> Iterator[None]:
    """Keeps the branches of ``batch`` apart in every model that runs inside the block, its backward pass included."""
    with ExitStack() as overrides:
        if batch.branches is not None:
            masks, attention = ALL_MASK_ATTENTION_FUNCTIONS, ALL_ATTENTION_FUNCTIONS
            for name in MASKED:
                overrides.enter_context(_override(masks, name, partial(_mask, name, masks[name], batch)))
            overrides.enter_context(_override(attention, "sdpa", BranchAttention(attention["sdpa"], batch.spans)))
        yield


@contextmanager
def _override(interface: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    before = interface[name]
    interface[name] = function
    try:
        yield
    finally:
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
        self._masks: dict[Spans, Tensor] = {}

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
        # Unbinding and splitting give autograd one concatenation; a slice each would give it a full tensor each.
        rows = zip(query.unbind(), key.unbind(), value.unbind(), self._spans, strict=True)
        return torch.stack([self._row(module, *row, **options) for row in rows]), None

    def _row(
        self, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, spans: Spans, **options: Any
    ) -> Tensor:
        padding = query.shape[1] - spans.total
        trunk_and_chosen, rejected, _ = query[None].split((spans.trunk + spans.chosen, spans.rejected, padding), dim=2)
        keys, values = _branch_keys(key, spans), _branch_keys(value, spans)
        first, _ = self._base(module, trunk_and_chosen, keys[0], values[0], None, **options)
        parts = [first[0]]
        if spans.rejected:
            mask = self._rejected_mask(spans, query)
            parts.append(self._base(module, rejected, keys[1], values[1], mask, **options)[0][0])
        if padding:
            parts.append(first.new_zeros(padding, *first.shape[2:]))
        return torch.cat(parts)  # [tokens, heads, d]

    def _rejected_mask(self, spans: Spans, like: Tensor) -> Tensor:
        """Additive, [1, 1, rejected, trunk + rejected]: causal, with the last query at the last key."""
        if spans not in self._masks:
            shape = (1, 1, spans.rejected, spans.trunk + spans.rejected)
            self._masks[spans] = like.new_full(shape, float("-inf")).triu(spans.trunk + 1)
        return self._masks[spans]


def _branch_keys(keys: Tensor, spans: Spans) -> tuple[Tensor, Tensor]:
    """The keys that each branch sees, [1, heads, trunk + branch, d] each."""
    sizes = (spans.trunk, spans.chosen, spans.rejected, keys.shape[1] - spans.total)
    trunk, chosen, rejected, _ = keys[None].split(sizes, dim=2)
    return torch.cat((trunk, chosen), dim=2), torch.cat((trunk, rejected), dim=2)
