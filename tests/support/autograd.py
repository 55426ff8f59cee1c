"""The truth about gradients: `torch.autograd` on the uncompressed parameters, one pair at a time, no hooks."""

import numpy as np
import torch
import torch.nn.functional as F
from congrad_worker.checkpoints.adapters import Model
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from torch import Tensor
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts
from transformers.pytorch_utils import Conv1D

TRANSPOSED = (Conv1D, GptOssExperts, Llama4TextExperts)
"""They keep their weights as ``[..., d_in, d_out]``."""


def pair_gradient(checkpoint: Checkpoint, pair: EncodedPair, names: list[str], beta: float = 0.1) -> np.ndarray:
    """The gradient of one pair's DPO loss in the weights of the named modules, concatenated: float32.

    The reference is the policy itself unless the pair brings the reference's log-probabilities along.
    """
    model = checkpoint.model
    parameters = dict(model.named_parameters())
    # Experts are named by the parameter that they are all in.
    weights = [parameters[name if name in parameters else f"{name}.weight"] for name in names]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        margin = _log_prob(model, pair.prompt_ids, pair.chosen_ids) - _log_prob(
            model, pair.prompt_ids, pair.rejected_ids
        )
        given = pair.ref_logps
        ref_margin = margin.detach() if given is None else margin.new_tensor(given[0] - given[1])
        loss = -F.logsigmoid(beta * (margin - ref_margin))
        gradients = torch.autograd.grad(loss, weights)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    modules = dict(model.named_modules())
    owners = [modules[name] if name in modules else modules[name.rpartition(".")[0]] for name in names]
    parts = [(g.mT if isinstance(o, TRANSPOSED) else g).flatten() for g, o in zip(gradients, owners, strict=True)]
    return torch.cat(parts).float().cpu().numpy()


def _log_prob(model: Model, prompt: list[int], completion: list[int]) -> Tensor:
    ids = torch.tensor([prompt + completion], device=model.device)
    log_probs = model(input_ids=ids).logits[0].float().log_softmax(-1)
    return torch.stack([log_probs[t - 1, ids[0, t]] for t in range(len(prompt), ids.shape[1])]).sum()
