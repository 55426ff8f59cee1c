"""Operations of a GPU, counted on PyTorch's meta device, which has shapes and no numbers, and priced by a table of one
card. Knows nothing of the engine but which kernels it asks Liger-Kernel for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from congrad_worker.gradients.fused import liger
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

META = torch.device("meta")

ALLOCATIONS = ("empty", "new_empty", "detach", "lift_fresh", "alias", "_unsafe_view", "resolve")
"""Operations that are no views and launch nothing either."""

GATHERS = ("index_select", "index", "embedding", "gather")
"""Operations that read of their first input as much as they put out."""


@dataclass(frozen=True)
class Card:
    """What a card reaches, and not what its data sheet says."""

    name: str
    matrix_rate: float  # FLOP/s of large bfloat16 products
    vector_rate: float  # FLOP/s of float32 products, which have no matrix units
    bandwidth: float  # bytes/s
    kernel_s: float  # the shortest that a kernel takes
    launch_s: float  # of the host, for an operation in eager mode with autograd and a hook here and there


H100 = Card("H100 SXM", matrix_rate=7.0e14, vector_rate=5.0e13, bandwidth=2.8e12, kernel_s=2.5e-6, launch_s=6e-6)


@dataclass
class Count:
    """Operations of a batch and what they cost."""

    kernels: int = 0
    device_s: float = 0
    linear_flops: float = 0
    by_name: dict[str, float] = field(default_factory=dict)  # seconds

    def add(self, name: str, seconds: float, kernels: int = 1) -> None:
        """An operation."""
        self.kernels += kernels
        self.device_s += seconds
        self.by_name[name] = self.by_name.get(name, 0.0) + seconds

    def host_s(self, card: Card) -> float:
        """What launching takes."""
        return self.kernels * card.launch_s

    def seconds(self, card: Card) -> float:
        """Of a batch among others: host and card work beside one another."""
        return max(self.device_s, self.host_s(card))

    def share(self, card: Card) -> float:
        """Of the rate of matrix products, counting products of frozen weights alone."""
        return self.linear_flops / card.matrix_rate / self.seconds(card)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call] # its base has no types
    """Counts what is dispatched to the device.

    :param area: of scores that one attention call for all pairs has, queries times keys, where it is that.
    """

    def __init__(self, card: Card, area: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = Count()
        self._card = card
        self._area = area

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        if any(tensor.device == META for tensor in tensors) and not self._is_free(func):
            self._add(func, args, result)
        return result

    def _is_free(self, func: Any) -> bool:
        name = func._schema.name.partition("::")[2]
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        return is_view or name.startswith(ALLOCATIONS)

    def _add(self, func: Any, args: Any, result: Any) -> None:
        name = func._schema.name.partition("::")[2]
        flops = self._flops(func, name, args, result)
        inputs = [t for t in torch.utils._pytree.tree_leaves(args) if isinstance(t, Tensor)]
        outputs = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, Tensor)]
        read = outputs if name.startswith(GATHERS) else inputs
        moved = sum(t.numel() * t.element_size() for t in (*read, *outputs))
        is_float32 = bool(flops) and inputs[0].dtype == torch.float32
        rate = self._card.vector_rate if is_float32 else self._card.matrix_rate
        seconds = max(flops / rate, moved / self._card.bandwidth, self._card.kernel_s)
        self.count.add(name, seconds)
        if name in ("mm", "addmm") and not is_float32:
            self.count.linear_flops += flops

    def _flops(self, func: Any, name: str, args: Any, result: Any) -> float:
        if "varlen_attn" in name:
            heads, size = args["backward" in name].shape[-2:]  # of the queries, behind their gradient
            return float((10 if "backward" in name else 4) * heads * size * self._area)
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            return 0.0
        # One of its overloads has a dtype besides.
        return float(formula(*(args[:2] if name in ("mm", "bmm") else args), out_val=result))

    def attention(self, query: Tensor, key: Tensor, is_causal: bool, backward: bool) -> None:
        """One fused kernel of PyTorch's attention, or the two of its backward pass."""
        rows, heads, queries, size = query.shape
        area = queries * key.shape[2] / (2 if is_causal else 1)
        flops = (10 if backward else 4) * rows * heads * size * area
        seconds = max(flops / (0.6 * self._card.matrix_rate), self._card.kernel_s)
        self.count.add("attention", seconds, kernels=2 if backward else 1)

    def elementwise(self, name: str, *likes: Tensor, times: int) -> None:
        """One kernel that reads and writes so many tensors like each of these."""
        moved = times * sum(like.numel() * like.element_size() for like in likes)
        self.count.add(name, max(moved / self._card.bandwidth, self._card.kernel_s))


class AsOnGPU(TorchFunctionMode):
    """PyTorch's attention and its RMSNorm are one kernel each on a GPU, and many operations on the meta device; and
    transformers asks whether rows hold several sequences, which those that are not told so do not."""

    def __init__(self, operations: Operations):
        super().__init__()
        self._operations = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__bool__ and args[0].device == META:
            return True
        if func is F.rms_norm and args[0].device == META:
            return _FusedNorm.apply(args[0], self._operations)  # type: ignore[no-untyped-call]
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        is_causal = bool((kwargs or {}).get("is_causal"))
        return _Fused.apply(*args[:3], is_causal, self._operations)  # type: ignore[no-untyped-call]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, is_causal: bool, operations: Operations) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.is_causal, ctx.operations = is_causal, operations
        operations.attention(query, key, is_causal, backward=False)
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        ctx.operations.attention(query, key, ctx.is_causal, backward=True)
        return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape), None, None


class _FusedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, operations: Operations) -> Tensor:
        ctx.operations = operations
        operations.elementwise("rms_norm", inputs, times=2)
        return torch.empty_like(inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.operations.elementwise("rms_norm_backward", gradient, times=3)
        return torch.empty_like(gradient), None


@contextmanager
def with_liger_kernel(operations: list[Operations]) -> Iterator[None]:
    """Has models made inside the block, and run there, ask for the kernels of Liger-Kernel as on a GPU where it is
    installed; they are counted by the last of ``operations``."""

    def rotary(query: Tensor, key: Tensor, _: Tensor, __: Tensor) -> tuple[Tensor, Tensor]:
        return _FusedRotary.apply(query, key, operations[-1])  # type: ignore[no-any-return, no-untyped-call]

    def silu_product(first: Tensor, second: Tensor) -> Tensor:
        return _FusedGate.apply(first, second, operations[-1])  # type: ignore[no-any-return, no-untyped-call]

    own = liger.kernels
    liger.kernels = lambda device: liger.Kernels(rotary, silu_product)  # noqa: ARG005 # of any
    try:
        yield
    finally:
        liger.kernels = own


class _FusedRotary(torch.autograd.Function):
    """Queries and keys in one kernel, in place."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, operations: Operations) -> tuple[Tensor, Tensor]:
        ctx.operations = operations
        operations.elementwise("rotary", query, key, times=2)
        return torch.empty_like(query), torch.empty_like(key)

    @staticmethod
    def backward(ctx: Any, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, None]:
        ctx.operations.elementwise("rotary_backward", query, key, times=2)
        return torch.empty_like(query), torch.empty_like(key), None


class _FusedGate(torch.autograd.Function):
    """Reads gate and up, and backward the gradient of their product too."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, operations: Operations) -> Tensor:
        ctx.operations = operations
        operations.elementwise("silu_product", first, times=3)
        return torch.empty_like(second)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        ctx.operations.elementwise("silu_product_backward", gradient, times=5)
        return torch.empty_like(gradient), torch.empty_like(gradient), None
