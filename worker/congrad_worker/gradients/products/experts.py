"""Routed experts, computed so that the two sides of each of their products can be had.

transformers' classes of experts ask an interface how they are computed, and say by a few flags what they are. For the
time of a batch the interface answers with `routed`, which does what transformers' own answer does and tells of the
products. Passes without gradients, and experts that are no target, are computed as they always are.
"""

from collections.abc import Callable, Container, Iterator
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
    """Which expert has which token. A slot is a token with one of its experts, and every token has as many."""

    count: int  # tokens
    tokens: Tensor  # int64 [slots]: whose each slot is, in the order of the tokens
    experts: Tensor  # int64 [slots]: which expert's it is, likewise
    order: Tensor  # int64 [slots]: the slots in the order of the experts, in which they are computed
    places: Tensor  # int64 [slots]: where each slot is in that order
    ends: Tensor  # int32 [experts]: where the slots of each expert end in it

    @classmethod
    def of(cls, chosen: Tensor, experts: int) -> "Routing":
        """:param chosen: the experts of each token, int64 ``[tokens, each]``, out of so many ``experts``."""
        count, each = chosen.shape
        tokens = torch.arange(count, device=chosen.device).repeat_interleave(each)
        ordered, order = torch.sort(chosen.flatten(), stable=True)
        # Counting would wait for the device.
        ends = torch.searchsorted(ordered, torch.arange(experts, device=chosen.device), right=True)
        return cls(count, tokens, chosen.flatten(), order, torch.argsort(order), ends.int())


@dataclass(frozen=True)
class RoutedProduct:
    """A product with the weights of a module's experts."""

    module: nn.Module
    parameter: str
    inputs: Tensor  # [n, d_in]
    rows: Tensor  # int64 [slots]: which row of `inputs` is each slot's, in the order of the tokens
    outputs: Tensor  # [slots, d_out], in the order of the experts
    routing: Routing


Told: TypeAlias = Callable[[RoutedProduct], None]


@contextmanager
def routed_products(modules: Container[nn.Module], tell: Told) -> Iterator[None]:
    """Tells of every product of these ``modules`` in passes inside the block that are to be differentiated."""
    with ExitStack() as overrides:
        # "eager" is the class's own code, and no entry.
        for name in ("eager", *ALL_EXPERTS_FUNCTIONS):
            base = ALL_EXPERTS_FUNCTIONS.get(name)

            def forward(module: nn.Module, *inputs: Any, base: Any = base, **options: Any) -> Tensor:
                if module in modules and torch.is_grad_enabled():
                    return routed(tell, module, *inputs, **options)
                own: Any = type(module).forward  # under the decorator that asks the interface
                computed: Tensor = (base or own.__wrapped__)(module, *inputs, **options)
                return computed

            overrides.enter_context(override(ALL_EXPERTS_FUNCTIONS, name, forward))
        yield


def routed(tell: Told, module: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """What a module of experts computes. The names are those of transformers.

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
    summed: Tensor = of_tokens.sum(1).to(hidden_states.dtype)
    return summed


def _product(module: Any, parameter: str, routing: Routing, inputs: Tensor) -> Tensor:
    """``[slots, d_in]`` to ``[slots, d_out]``, in the order of the experts."""
    bias = getattr(module, f"{parameter}_bias")[routing.experts[routing.order]] if module.has_bias else None
    weight = getattr(module, parameter)
    product: Tensor = _grouped_linear(inputs, weight, routing.ends, bias=bias, is_transposed=module.is_transposed)
    return product
