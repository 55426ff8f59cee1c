"""Attention in rows that hold whole pairs: trunk, chosen and rejected, where no branch and no pair sees another.

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

from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.segments import Segment, join, split

MASKED = ("sdpa", "eager", "flex_attention")
"""The implementations that take any mask; flash attention's own kernels do not."""


@contextmanager
def branches_apart(batch: Batch) -> Iterator[None]:
    """Keeps the branches of ``batch`` apart in every model that runs inside the block, its backward pass included."""
    masks, attention = ALL_MASK_ATTENTION_FUNCTIONS, ALL_ATTENTION_FUNCTIONS
    # These interfaces are the process's own: nothing else may run a model meanwhile, and a worker has one thread.
    with ExitStack() as overrides:
        for name in MASKED:
            overrides.enter_context(override(masks, name, partial(branch_mask, name, masks[name], batch)))
        overrides.enter_context(override(attention, "sdpa", BranchAttention(attention["sdpa"], batch.segments)))
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


def branch_mask(
    name: str, base: Callable[..., Any], batch: Batch, *, mask_function: Callable[..., Tensor], **options: Any
) -> Any:
    """The mask of one kind of layer; None where `BranchAttention` needs none, because the layer is plainly causal."""
    assert batch.branches is not None
    assert batch.position_ids is not None
    branches, positions = batch.branches, batch.position_ids
    if name == "sdpa" and is_plainly_causal(batch, options):
        return None

    def apart(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_key, of_query = branches[row, key], branches[row, query]
        is_visible = (of_key == of_query) | (of_key == of_query - of_query % 3)
        return is_visible & mask_function(row, head, positions[row, query], positions[row, key])

    # No token sees padding, so transformers' own mask for it is not needed.
    return base(mask_function=apart, **options | {"attention_mask": None, "allow_is_causal_skip": False})


def is_plainly_causal(batch: Batch, options: dict[str, Any]) -> bool:
    """Whether a layer that asks for its mask with these options attends to everything before, in all of the batch."""
    window = options.get("local_size")
    is_wide = window is None or window >= max(spans.longest for spans in batch.spans)
    return is_wide and bool(options["allow_is_causal_skip"])


class BranchAttention:
    """Causal attention without a mask over whole rows, which would cost the square of their lengths: trunk and chosen
    are one causal sequence, and the rejected branch attends to the trunk and itself."""

    def __init__(self, base: Callable[..., Any], segments: tuple[Segment, ...]):
        self._base = base
        self._segments = segments
        self._masks: dict[tuple[tuple[int, int], torch.device], Tensor] = {}

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
        masks = [self._mask(segment, query) for segment in self._segments]
        return in_segments(self._base, self._segments, masks, module, query, key, value, **options), None

    def _mask(self, segment: Segment, like: Tensor) -> Tensor | None:
        """None for a causal sequence; for a rejected branch, additive, ``[1, 1, rejected, trunk + rejected]``: causal,
        with the last query at the last key."""
        if not segment.trunk:
            return None
        kind = segment.shape, like.device
        if kind not in self._masks:
            self._masks[kind] = like.new_full((1, 1, *segment.shape), float("-inf")).triu(segment.trunk + 1)
        return self._masks[kind]


def in_segments(
    base: Callable[..., Any],
    segments: tuple[Segment, ...],
    masks: list[Tensor | None],
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    **options: Any,
) -> Tensor:
    """Attention of one segment after the other: ``[rows, tokens, heads, d]``.

    :param base: one of transformers' attention functions.
    """
    queries = split(query, segments, with_trunk=False)
    keys, values = (split(vectors, segments, with_trunk=True) for vectors in (key, value))
    parts = [base(module, *part, **options)[0] for part in zip(queries, keys, values, masks, strict=True)]
    return join(parts, segments, query.shape[0], query.shape[2])
