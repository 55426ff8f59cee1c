"""All segments of a packed row in one call of PyTorch's attention for sequences of various lengths, on a GPU.

Queries stand where they are. A rejected branch attends to its trunk as well, which stands elsewhere in the row, so that
keys and values are gathered, and their gradients are added up where they came from. Heads of keys that several heads of
queries share are not repeated, and a sliding window is the kernel's own. Where queries are fewer than keys, the last
query is at the last key.
"""

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.extents import moved

OPTIONS = frozenset({"scale", "window_size", "enable_gqa"})
"""What the kernel is told beside lengths. PyTorch 2.10 has one that takes none of them, and 2.11's knows no heads that
are shared."""


def that_takes_options(kernel: Callable[..., Any]) -> Callable[..., Any] | None:
    """A kernel; None where it is an early one, whose call would fail."""
    return kernel if inspect.signature(kernel).parameters.keys() >= OPTIONS else None


try:
    from torch.nn.attention.varlen import varlen_attn as _of_pytorch
except ImportError:  # before PyTorch 2.10
    varlen_attn = None  # is looked at before it is called
else:
    varlen_attn = that_takes_options(_of_pytorch)

DEVICES = ("cuda", "meta")
"""Devices that have the kernel. On the one that has shapes alone its operations are counted."""

LEAST_CAPABILITY = (8, 0)
"""Of a GPU that PyTorch's FlashAttention, which the kernel is, was written for: Ampere's. A T4 or a V100 has none."""

DTYPES = (torch.bfloat16, torch.float16)
LARGEST_HEAD = 256

OTHER_SCORES = ("softcap", "s_aux", "position_bias", "head_mask")
"""Options of transformers' attention that change scores in a way that the kernel does not know."""


def is_supported(
    query: Tensor, key: Tensor, value: Tensor, is_causal: bool, window: int | None, options: dict[str, Any]
) -> bool:
    """Whether the kernel computes a layer's attention.

    :param is_causal: whether it attends to everything before.
    :param window: otherwise, how many tokens; those of a chunk are as many and others, and only a window has the option
        that says so.
    """
    is_half = query.dtype in DTYPES and query.dtype == key.dtype == value.dtype
    size = query.shape[-1]
    is_in_size = size % 8 == 0 and value.shape[-1] <= size <= LARGEST_HEAD
    is_known = is_causal or (window is not None and options.get("sliding_window") == window)
    is_plain = not options.get("dropout") and all(options.get(name) is None for name in OTHER_SCORES)
    return _has_kernel(query.device) and is_half and is_in_size and is_known and is_plain


def attends_at_once(checkpoint: Checkpoint) -> bool:
    """Whether the kernel may be expected to compute a model's attention, as far as can be told without computing any:
    `is_supported` decides."""
    config = checkpoint.model.config.get_text_config()
    is_plain = getattr(config, "_attn_implementation", None) == "sdpa"
    return is_plain and checkpoint.dtype in DTYPES and _has_kernel(checkpoint.device)


def _has_kernel(device: torch.device) -> bool:
    is_known = varlen_attn is not None and device.type in DEVICES
    return is_known and (device.type != "cuda" or _capability(device) >= LEAST_CAPABILITY)


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    """It is asked for in every layer of every batch."""
    return torch.cuda.get_device_capability(device)


class VariableLength:
    """The attention of all segments of a batch. Indices are made once, and not again for each layer."""

    def __init__(self, batch: Batch):
        self._batch = batch
        self._plans: dict[torch.device, _Plan] = {}

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, window: int | None, scale: float | None) -> Tensor:
        """:param query: ``[1, heads, tokens, d]``; keys and values may have fewer heads.
        :param window: how many tokens a query sees, with its own; None for all before.
        :param scale: of the scores; None for ``d ** -0.5``.
        :returns: ``[1, tokens, heads, d]``.
        """
        plan = self._plan(query.device)
        # A kernel for one size of heads: latent attention has smaller values than keys.
        padding = query.shape[-1] - value.shape[-1]
        wide = F.pad(value, (0, padding)) if padding else value
        keys, values = (_Gather.apply(v.squeeze(0).transpose(0, 1), plan) for v in (key, wide))  # [keys, key heads, d]
        assert varlen_attn is not None
        found: Tensor = varlen_attn(
            query.squeeze(0).transpose(0, 1),  # an index would have a gradient of its own, as large again
            keys,
            values,
            plan.ends_of_queries,
            plan.ends_of_keys,
            plan.most_queries,
            plan.most_keys,
            scale=scale,
            window_size=(-1 if window is None else window - 1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return found[None, ..., : value.shape[-1]]

    def _plan(self, device: torch.device) -> "_Plan":
        if device not in self._plans:
            self._plans[device] = _Plan(self._batch, device)
        return self._plans[device]


class _Plan:
    """Which keys each query has."""

    def __init__(self, batch: Batch, device: torch.device):
        segments = sorted(batch.segments, key=lambda s: s.start)
        tokens = torch.arange(batch.input_ids.shape[1])
        parts = [part for s in segments for part in (tokens[s.trunk_columns], tokens[s.columns])]
        sizes = torch.tensor([(s.trunk, s.length) for s in segments])
        is_again = torch.tensor([True, False]).repeat(len(segments)).repeat_interleave(sizes.flatten())
        gathered = torch.cat(parts)
        move = partial(moved, device=device)
        self.gathered = move(gathered)  # int64 [keys]: which token each key is
        self.own = move((~is_again).nonzero()[:, 0])  # int64 [tokens]: where in the keys each token is in its segment
        self.again = move(is_again.nonzero()[:, 0])  # int64 [n]: keys that are a trunk's, seen from another segment
        self.trunks = move(gathered[is_again])  # int64 [n]: which tokens these are
        self.ends_of_queries, self.ends_of_keys = (
            move(F.pad(lengths.cumsum(0), (1, 0)).int()) for lengths in (sizes[:, 1], sizes.sum(1))
        )
        self.most_queries, self.most_keys = int(sizes[:, 1].max()), int(sizes.sum(1).max())


class _Gather(torch.autograd.Function):
    """Keys or values of all segments. Autograd's own gradient of an index adds up in any order, and so to other last
    bits each time; here a token is added to once."""

    @staticmethod
    def forward(ctx: Any, row: Tensor, plan: _Plan) -> Tensor:
        """``[tokens, heads, d]`` to ``[keys, heads, d]``."""
        ctx.plan = plan
        return row.index_select(0, plan.gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        plan = ctx.plan
        row = gradient.index_select(0, plan.own)
        return row.index_add_(0, plan.trunks, gradient.index_select(0, plan.again)), None
