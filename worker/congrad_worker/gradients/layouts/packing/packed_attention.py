"""Attention in a packed row: each segment by itself, or on a GPU all of them in one call.

A layer that does not attend to everything before is given what says so in place of a mask: a mask over a whole row
would be as large as the square of all pairs' tokens.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.branches import branch_mask, in_segments, is_plainly_causal, override
from congrad_worker.gradients.layouts.packing.variable_length import VariableLength, is_supported
from congrad_worker.gradients.layouts.segments import Segment


@contextmanager
def pairs_apart(batch: Batch) -> Iterator[None]:
    """Keeps the pairs of ``batch`` and their branches apart in every model that runs inside the block, its backward
    pass included."""
    masks, attention = ALL_MASK_ATTENTION_FUNCTIONS, ALL_ATTENTION_FUNCTIONS
    flex = partial(branch_mask, "flex_attention", masks["flex_attention"], batch)
    with ExitStack() as overrides:
        overrides.enter_context(override(masks, "flex_attention", flex))
        for name in ("sdpa", "eager"):
            overrides.enter_context(override(masks, name, partial(_segment_masks, batch, name == "eager")))
            # "eager" is the model's own code, and no entry.
            overrides.enter_context(override(attention, name, PackedAttention(attention.get(name), batch)))
        yield


@dataclass
class SegmentMasks:
    """What one kind of layer attends to, of each segment where it is asked for."""

    mask_function: Callable[..., Tensor]
    window: int | None  # of tokens that are attended to, perhaps of a chunk; None where that is everything before
    is_additive: bool
    made: dict[tuple[tuple[int, int], torch.device], Tensor] = field(default_factory=dict)

    def of(self, segment: Segment, like: Tensor) -> Tensor:
        """``[1, 1, queries, keys]``: whether a query sees a key, or what is added to its score."""
        kind = segment.shape, like.device
        if kind not in self.made:
            self.made[kind] = self._mask(segment, like)
        return self.made[kind]

    def _mask(self, segment: Segment, like: Tensor) -> Tensor:
        queries, keys = segment.shape
        positions = torch.arange(keys, device=like.device)
        first = positions.new_zeros(1, 1, 1, 1)
        query = positions[segment.trunk :].view(1, 1, -1, 1)
        is_visible = self.mask_function(first, first, query, positions.view(1, 1, 1, -1)).expand(1, 1, queries, keys)
        if not self.is_additive:
            return is_visible
        return like.new_zeros(()).where(is_visible, torch.finfo(like.dtype).min)


def _segment_masks(
    batch: Batch, is_additive: bool, *, mask_function: Callable[..., Tensor], **options: Any
) -> SegmentMasks | None:
    """In place of a mask; None where it is plainly causal, and attention knows by itself what that is."""
    is_causal = is_plainly_causal(batch, options)
    if is_causal and not is_additive:
        return None
    return SegmentMasks(mask_function, None if is_causal else options.get("local_size"), is_additive)


class PackedAttention:
    """What attention is in a packed row.

    :param base: one of transformers' attention functions; None for the model's own.
    """

    def __init__(self, base: Callable[..., Any] | None, batch: Batch):
        self._base = base
        self._segments = batch.segments
        self._at_once = VariableLength(batch)
        self._causal = SegmentMasks(_is_causal, None, is_additive=False)

    def __call__(
        self,
        module: torch.nn.Module,
        query: Tensor,  # [1, heads, tokens, d]
        key: Tensor,  # [1, key heads, tokens, d]
        value: Tensor,
        attention_mask: SegmentMasks | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """:returns: ``[1, tokens, heads, d]``, as transformers' attention functions do."""
        window = None if attention_mask is None else attention_mask.window
        if self._base is not None and is_supported(query, key, value, attention_mask is None, window, options):
            return self._at_once(query, key, value, window, options.get("scaling")), None
        masks = [self._mask(segment, attention_mask, query) for segment in self._segments]
        base = self._base or sys.modules[type(module).__module__].eager_attention_forward
        return in_segments(base, self._segments, masks, module, query, key, value, **options), None

    def _mask(self, segment: Segment, masks: SegmentMasks | None, like: Tensor) -> Tensor | None:
        if masks is not None:
            return masks.of(segment, like)
        return self._causal.of(segment, like) if segment.trunk else None


def _is_causal(_row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return key <= query
