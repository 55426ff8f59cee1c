"""The truth about gradients, plain autograd on the weights of one pair at a time, and how far an arm is from it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.projection import Projection
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks import rows

BYTES_FOR_EXACT = 2 << 30
"""Uncompressed gradients are compared where they fit into this."""


def target_weights(model: PreTrainedModel, names: Sequence[str]) -> list[torch.nn.Parameter]:
    """The weights of the target modules."""
    return [model.get_parameter(f"{name}.weight") for name in names]


def pair_gradients(
    model: PreTrainedModel, names: Sequence[str], pairs: Sequence[EncodedPair], beta: float
) -> Iterator[list[Tensor]]:
    """The gradient of each pair's loss in the target weights. Each sequence runs alone: no batch and no padding."""
    weights = target_weights(model, names)
    for pair in pairs:
        for weight in weights:
            weight.requires_grad_(True)
        margin = _log_prob(model, pair.prompt_ids, pair.chosen_ids) - _log_prob(
            model, pair.prompt_ids, pair.rejected_ids
        )
        gradients = torch.autograd.grad(rows.loss(margin, margin.detach(), beta), weights)
        model.requires_grad_(False)
        yield list(gradients)


def _log_prob(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> Tensor:
    ids = torch.tensor([prompt + completion], device=model.device)
    log_probs: Tensor = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    return log_probs[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None]).sum()


def flat(gradients: Sequence[Tensor]) -> np.ndarray:
    """One vector of a list of weight gradients: float32, on the CPU."""
    return torch.cat([gradient.float().flatten() for gradient in gradients]).cpu().numpy()


def projected(projection: Projection, names: Sequence[str], gradients: Sequence[Tensor]) -> np.ndarray:
    """What the engine should return for a pair with these weight gradients: float32 ``[D]``."""
    target = torch.zeros(1, projection.dim, device=gradients[0].device)
    for name, gradient in zip(names, gradients, strict=True):
        projection[name].compress(target, gradient[None])
    return target[0].cpu().numpy()


def relative_error(found: np.ndarray, truth: np.ndarray) -> float:
    """‖found − truth‖ / ‖truth‖ of the worst row."""
    distances = np.linalg.norm(found - truth, axis=-1) / np.linalg.norm(truth, axis=-1)
    return float(np.max(distances))
