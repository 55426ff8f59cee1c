r"""RMSNorm in few operations: transformers' classes have a chain of eight forward and more backward.

On a GPU it is PyTorch's kernel. A CPU has none, and there it is

.. math::
    y = r\, x \circ w, \qquad r = \Big(\tfrac1d \sum_i x_i^2 + \varepsilon\Big)^{-1/2}, \qquad
    \nabla_x = r \Big(\gamma - \tfrac{r^2}{d} \langle\gamma, x\rangle\, x\Big), \quad \gamma = w \circ \nabla_y

for a weight w that is frozen. Gemma's is one more than the parameter, in float32: half precision would round that sum,
by the same for every token.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from congrad_worker.checkpoints.adapters import Model
from congrad_worker.gradients.fused.likeness import are_alike, drawn

KERNELS = ("cuda", "meta")
"""Devices that have the kernel. On that of shapes alone nothing can be compared, and operations are counted."""

EXACT = (torch.float32, torch.float64)
"""Dtypes of which a CPU has norms in few operations; models compute those of others in float32."""

ROWS = 4
UNLIKE = 2.0**13
"""By how much the inputs of a comparison may differ, for weights that do."""

Norm = Callable[[Tensor], Tensor]


def fused_norms(model: Model) -> Iterator[tuple[nn.Module, Norm]]:
    """Every RMSNorm of ``model`` that is known, with what computes the same."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and (norm := _fused(module)) is not None:
            yield module, norm


def _fused(module: Any) -> Norm | None:
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, nn.Parameter) or weight.ndim != 1 or epsilon is None:
        return None
    plain = weight.detach()
    for scale in (plain, 1 + plain.to(torch.promote_types(plain.dtype, torch.float32))):
        norm = _norm(scale, float(epsilon), plain.dtype)
        if norm is not None and (weight.device.type == "meta" or _is(module, norm, weight, scale)):
            return norm
    return None


def _norm(scale: Tensor, epsilon: float, dtype: torch.dtype) -> Norm | None:
    """:param dtype: of the model, and so of what comes in and goes out."""
    if scale.device.type in KERNELS:
        norm = partial(F.rms_norm, normalized_shape=list(scale.shape), weight=scale, eps=epsilon)
        return norm if scale.dtype == dtype else partial(_within, norm, scale.dtype)
    return partial(_in_few_operations, scale=scale, epsilon=epsilon) if dtype in EXACT else None


def _within(norm: Norm, dtype: torch.dtype, inputs: Tensor) -> Tensor:
    """A norm in another dtype than that of its inputs. The kernel has one for all."""
    return norm(inputs.to(dtype)).to(inputs.dtype)


def _is(module: Any, norm: Norm, weight: Tensor, scale: Tensor) -> bool:
    """Inputs are the smaller the larger the weights, up to a limit: a weight of hundreds would be all that there is to
    compare, and for it Gemma's norm is as good as any."""
    sizes = scale.abs()
    sizes = sizes.clamp(min=float(sizes.max()) / UNLIKE or 1.0)
    inputs = drawn((ROWS, weight.shape[0]), weight, seed=0)
    return are_alike(module, norm, [(inputs * (sizes.min() / sizes)).to(inputs.dtype)])


def _in_few_operations(inputs: Tensor, scale: Tensor, epsilon: float) -> Tensor:
    normed: Tensor = _RMSNorm.apply(inputs, scale, epsilon)
    return normed


class _RMSNorm(torch.autograd.Function):
    """See the module's docstring."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, scale: Tensor, epsilon: float) -> Tensor:
        norms = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True)
        inverse = norms.square_().div_(inputs.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(inputs, inverse, scale)
        normed: Tensor = (inputs * inverse).mul_(scale)
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        inputs, inverse, scale = ctx.saved_tensors
        weighed = gradient * scale
        along = torch.linalg.vecdot(weighed, inputs).unsqueeze(-1) * inverse**3 / inputs.shape[-1]
        return weighed.mul_(inverse).addcmul_(inputs, along, value=-1), None, None
