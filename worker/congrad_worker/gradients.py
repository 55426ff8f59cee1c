"""Compressed per-sample gradients of preference pairs: one forward and one activation backward a micro-batch."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from congrad_worker import losses
from congrad_worker.batching import IGNORED, Batch, collate, micro_batches
from congrad_worker.checkpoint import Checkpoint
from congrad_worker.collector import Collector, UnsupportedModuleError
from congrad_worker.encoding import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.modules import linear_shape, target_modules
from congrad_worker.projection import Projection
from congrad_worker.settings import GradientSettings


class GradientEngine:
    """Computes gradients against one checkpoint.

    :raises CheckpointError: the checkpoint has modules that per-sample gradients cannot be taken of.
    """

    def __init__(self, checkpoint: Checkpoint, settings: GradientSettings):
        self._checkpoint = checkpoint
        self._beta = settings.beta
        self._max_batch_tokens = settings.max_batch_tokens
        modules = target_modules(checkpoint.model, settings.target_modules)
        self.projection = Projection(
            settings.projection,
            {name: linear_shape(module) for name, module in modules.items()},
            settings.projection_rank,
            settings.projection_dim,
            settings.seed,
            checkpoint.device,
            checkpoint.dtype,
        )
        self.modules = len(modules)
        self._collector = Collector(modules, self.projection, checkpoint.input_embeddings)
        self._warm_up()

    def _warm_up(self) -> None:
        """A first small batch: kernels are ready for the first request, and a model that cannot do it says so now."""
        try:
            self.compute([EncodedPair([0, 1], [2, 3], [3, 4], truncated=False)])
        except UnsupportedModuleError as error:
            raise CheckpointError(
                f"{self._checkpoint.name} is not supported: {error}; CONGRAD_TARGET_MODULES can narrow the choice"
            ) from error

    def compute(self, pairs: Sequence[EncodedPair]) -> np.ndarray:
        """Compressed gradients of ``pairs``, in their order: float32 ``[pairs, D]``.

        A pair that the model cannot tell apart has a zero row. One whose gradient overflows has entries that are not
        finite, and leaves the others as they are.
        """
        gradients = np.zeros((len(pairs), self.projection.dim), dtype=np.float32)
        positions = [i for i, pair in enumerate(pairs) if not pair.is_tie]
        for group in micro_batches([pairs[i] for i in positions], self._max_batch_tokens):
            rows = [positions[i] for i in group]
            gradients[rows] = self._batch_gradients([pairs[i] for i in rows]).cpu().numpy()
        return gradients

    def _batch_gradients(self, pairs: Sequence[EncodedPair]) -> Tensor:
        """float32 ``[pairs, D]``, on the device."""
        device = self._checkpoint.device
        batch = collate(pairs, self._checkpoint.tokenizer.pad_token_id or 0).to(device)
        given = torch.tensor([np.nan if p.ref_margin is None else p.ref_margin for p in pairs], device=device)
        with torch.enable_grad(), self._collector.collecting(len(pairs), device) as target:
            margins = _margins(self._checkpoint.model, batch)
            ref_margins = torch.where(given.isnan(), self._reference_margins(batch, margins), given)
            losses.sigmoid(margins, ref_margins, self._beta).sum().backward()
        return target

    @torch.no_grad()
    def _reference_margins(self, batch: Batch, margins: Tensor) -> Tensor:
        with self._checkpoint.as_reference() as reference:
            return margins.detach() if reference is None else _margins(reference, batch)


def _margins(model: torch.nn.Module, batch: Batch) -> Tensor:
    """log π(chosen) − log π(rejected) in nats, summed over the completion's tokens: float32 ``[pairs]``."""
    logits = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.kept).logits
    logps = -F.cross_entropy(  # [2 * pairs * kept]
        logits.flatten(0, 1).float(), batch.targets.flatten(), reduction="none", ignore_index=IGNORED
    )
    chosen, rejected = logps.view_as(batch.targets).sum(1).view(-1, 2).unbind(1)
    return chosen - rejected
