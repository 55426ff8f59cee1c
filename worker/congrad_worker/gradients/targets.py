"""What a gradient is taken of: the weight of a linear layer, or those of a layer's experts, which are one parameter.

Mixtures of experts keep most of their weights in parameters that no linear layer has. transformers' models use them in
one of three ways, and which it is can be told from the module: `Use`.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from congrad_worker.gradients.projection import LinearShape


class Use(Enum):
    """How a module multiplies with a weight of its own, and so where the two sides of its gradient are to be had."""

    LAYER = "the module is the product: what goes in, and what comes out"
    CALL = "a call of F.linear, or for all experts at once of torch.bmm, somewhere in its forward pass"
    ROUTED = "transformers' interface for experts, which says what is multiplied with what"


@dataclass(frozen=True)
class Target:
    """A weight, or the weights of a layer's experts, and the module that multiplies with it."""

    module: nn.Module
    parameter: str
    use: Use
    is_transposed: bool = False
    """Whether it is stored as ``[..., d_in, d_out]``."""

    @property
    def weight(self) -> nn.Parameter:
        """``[d_out, d_in]`` or ``[experts, d_out, d_in]``, unless it is transposed."""
        return self.module.get_parameter(self.parameter)

    @property
    def shape(self) -> LinearShape:
        """The sizes of the product."""
        if isinstance(self.module, nn.Linear):  # a quantised weight has other sizes
            return LinearShape(d_in=self.module.in_features, d_out=self.module.out_features)
        *experts, rows, columns = self.weight.shape
        d_in, d_out = (rows, columns) if self.is_transposed else (columns, rows)
        return LinearShape(d_in, d_out, experts=experts[0] if experts else None)

    def matrices(self, gradient: Tensor) -> Tensor:
        """A gradient of the weight as ``[..., d_out, d_in]``."""
        return gradient.mT if self.is_transposed else gradient


def targets_of(path: str, module: nn.Module) -> Iterator[tuple[str, Target]]:
    """The targets in one module by name, unless it `is_router`. Experts are named by their parameter."""
    if isinstance(module, Conv1D):
        yield path, Target(module, "weight", Use.LAYER, is_transposed=True)
    elif is_linear(module):
        yield path, Target(module, "weight", Use.LAYER)
    elif is_routed(module):
        for parameter in routed_parameters(module):
            yield f"{path}.{parameter}", Target(module, parameter, Use.ROUTED, bool(module.is_transposed))
    elif is_batched(module):
        for parameter in ("gate_up_proj", "down_proj"):
            yield f"{path}.{parameter}", Target(module, parameter, Use.CALL, is_transposed=True)


def is_linear(module: nn.Module) -> bool:
    """Whether a module has the weight of ``x Wᵀ + b``. GPT-2's Conv1D has, and stores it transposed."""
    # Conv1D is a plain nn.Module; quantised layers derive from nn.Linear.
    return isinstance(module, nn.Linear | Conv1D) and not hasattr(module, "base_layer")


def is_routed(module: Any) -> bool:
    """Whether a module is of a class under transformers' `use_experts_implementation`, with weights in parameters."""
    flags = ("has_gate", "has_bias", "has_post_expert_norm", "is_transposed")  # what that decorator sets
    return all(flag in vars(module) for flag in flags) and all(
        _is_stack(module, parameter) for parameter in routed_parameters(module)
    )


def routed_parameters(module: Any) -> tuple[str, str]:
    """The two weights of routed experts, in the order of their use."""
    return "gate_up_proj" if module.has_gate else "up_proj", "down_proj"


def is_batched(module: nn.Module) -> bool:
    """Whether a module multiplies every token with every expert, as Llama 4's do: it is given nothing but tokens."""
    return (
        _is_stack(module, "gate_up_proj")
        and _is_stack(module, "down_proj")
        and len(inspect.signature(module.forward).parameters) == 1
    )


def is_router(module: nn.Module) -> bool:
    """Whether a module, which stands beside experts, has a matrix of its own and does more than to multiply with it.

    Some routers hold a bare parameter, and some are linear layers that put out what they chose.
    """
    weight = module._parameters.get("weight")
    is_plain = isinstance(module, nn.Embedding | Conv1D) or type(module).forward is nn.Linear.forward
    return weight is not None and weight.ndim == 2 and not is_plain


def _is_stack(module: nn.Module, parameter: str) -> bool:
    weight = module._parameters.get(parameter)
    return weight is not None and weight.ndim == 3
