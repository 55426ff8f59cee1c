"""Routed experts, computed so that the two sides of each product can be had.

transformers' classes of experts ask an interface how they are computed, and say by a few flags what they are. For the time of
a batch the interface answers with `routed`, which is transformers' own computation, grouped by expert, and tells of its two
products. Forward passes without gradients, and experts that are no target, are computed as they would be.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _grouped_linear

from congrad_worker.gradients.layouts.branches import override
from congrad_worker.gradients.targets import routed_parameters


@dataclass(frozen=True)
class Routing:
    """Which expert has which token. A slot is a token with one of its experts; there are as many slots of each token."""

    experts: Tensor  # int64 [slots], in the order of the tokens
    order: Tensor  # int64 [slots]: slots in the order of the experts, which they are computed in
    places: Tensor  # int64 [slots]: where each slot is in that order
    ends: Tensor  # int32 [experts]: where the slots of each expert end there
    tokens: Tensor  # int64 [slots]: whose each slot is, in the order of the tokens
    count: int  # tokens

    @classmethod
    def of(cls, chosen: Tensor, of_experts: int) -> "Routing":
        """:param chosen: the experts of each token, int64 ``[tokens, each]``, of ``of_experts`` in all."""
        experts = chosen.flatten()
        ordered, order = torch.sort(experts, stable=True)
        ends = torch.searchsorted(ordered, torch.arange(of_experts, device=experts.device), right=True)
        tokens = torch.arange(len(chosen), device=experts.device).repeat_interleave(chosen.shape[1])
        return cls(experts, order, torch.argsort(order), ends.int(), tokens, len(chosen))


@dataclass(frozen=True)
class RoutedProduct:
    """A product with the weights of a module's experts."""

    module: nn.Module
    parameter: str
    inputs: Tensor  # [n, d_in]
    rows: Tensor  # int64 [slots]: which row of `inputs` each slot has, in the order of the tokens
    outputs: Tensor  # [slots, d_out], in the order of the experts
    routing: Routing


Told: TypeAlias = Callable[[RoutedProduct], None]


@contextmanager
def routed_products(modules: Mapping[nn.Module, Any], tell: Told) -> Iterator[None]:
    """Tells of every product in those ``modules`` that are computed inside the block."""
    with ExitStack() as overrides:
        # "eager" stands for the class's own code, and is no entry.
        for name in ("eager", *ALL_EXPERTS_FUNCTIONS):
            base = ALL_EXPERTS_FUNCTIONS.get(name)

            def forward(module: nn.Module, *inputs: Any, base: Any = base, **options: Any) -> Tensor:
                if module in modules and torch.is_grad_enabled():
                    return routed(module, *inputs, tell=tell, **options)
                own: Any = type(module).forward
                computed: Tensor = (base or own.__wrapped__)(module, *inputs, **options)
                return computed

            overrides.enter_context(override(ALL_EXPERTS_FUNCTIONS, name, forward))
        yield


def routed(module: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor, tell: Told) -> Tensor:
    """What a module of experts computes.

    :param hidden_states: ``[tokens, d]``.
    :param top_k_index: int64 ``[tokens, each]``.
    :param top_k_weights: ``[tokens, each]``.
    :returns: ``[tokens, d]``.
    """
    routing = Routing.of(top_k_index, module.num_experts)
    first, second = routed_parameters(module)
    outputs = _product(module, first, routing, hidden_states[routing.tokens[routing.order]])
    tell(RoutedProduct(module, first, hidden_states, routing.tokens, outputs, routing))
    inner = module._apply_gate(outputs) if module.has_gate else module.act_fn(outputs)
    outputs = _product(module, second, routing, inner)
    tell(RoutedProduct(module, second, inner, routing.places, outputs, routing))
    if module.has_post_expert_norm:
        outputs = module.post_expert_norm(outputs)
    weighted = outputs * top_k_weights.flatten()[routing.order, None]
    of_tokens = weighted[routing.places].unflatten(0, top_k_index.shape)  # [tokens, each, d]
    return of_tokens.sum(1).to(hidden_states.dtype)


def _product(module: Any, parameter: str, routing: Routing, inputs: Tensor) -> Tensor:
    """``[slots, d_in]`` to ``[slots, d_out]``, in the order of the experts."""
    bias = getattr(module, f"{parameter}_bias")[routing.experts[routing.order]] if module.has_bias else None
    weight = getattr(module, parameter)
    product: Tensor = _grouped_linear(inputs, weight, routing.ends, bias=bias, is_transposed=module.is_transposed)
    return product
