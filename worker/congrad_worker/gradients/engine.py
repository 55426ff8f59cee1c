"""Compressed per-sample gradients: one forward and one activation backward a micro-batch."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from congrad_worker.activity import Activity
from congrad_worker.checkpoints.adapters import Model
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.collector import Collector
from congrad_worker.gradients.compressed import Gradients
from congrad_worker.gradients.device import are_lost, is_out_of_memory
from congrad_worker.gradients.fused.chains import chains
from congrad_worker.gradients.fused.float8 import float8_products
from congrad_worker.gradients.fused.stand_ins import StandIns
from congrad_worker.gradients.layouts.batch import Batch
from congrad_worker.gradients.layouts.budget import Budget
from congrad_worker.gradients.layouts.costs import Costs
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.packing.last_block import last_block
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.packing.variable_length import attends_at_once
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.losses.derivatives import divided_derivatives
from congrad_worker.gradients.losses.logps import token_logps, token_logps_and_collisions
from congrad_worker.gradients.losses.preference import PairLogps, PreferenceLoss, TokenLogps
from congrad_worker.gradients.modules import decoder_blocks, target_modules, tied
from congrad_worker.gradients.projection import Projection
from congrad_worker.gradients.recomputation import recompute_layers
from congrad_worker.settings import MAX_DIM, GradientSettings

LAYOUTS: tuple[Layout, ...] = (PACKED_ROW, SHARED_ROW, TWO_ROWS)
"""A pair is laid out in the cheapest of these that suits it, and where two cost as much in the earlier; the last suits
every pair, and every model."""

SMALL = 2.0**-80
"""What is shorter, or longer than its inverse, float32 may have no exponents for."""

log = logging.getLogger(__name__)


class GradientEngine:
    """Computes gradients against one checkpoint; its `activity` counts their tokens.

    What it computes is right for models that do with their modules, masks and positions what most do. `verification`
    finds out whether this one does.

    :param layouts: those that pairs may be laid out in, as in `LAYOUTS`.
    :raises CheckpointError: there are no modules that gradients could be taken of, or too many for ``exact``; or it is
        to multiply in 8 bits, and cannot.
    """

    def __init__(self, checkpoint: Checkpoint, settings: GradientSettings, layouts: Sequence[Layout] = LAYOUTS):
        self.checkpoint = checkpoint
        self.layouts = tuple(layouts)
        self.activity = Activity()
        self.loss = PreferenceLoss(settings)
        self._learns_ties = {is_own: self.loss.learns_ties(is_own) for is_own in (True, False)}
        self.modules = target_modules(checkpoint.model, settings.target_modules, settings.layers)
        self.projection = Projection(
            settings.projection,
            {name: target.shape for name, target in self.modules.items()},
            settings.projection_rank,
            settings.projection_dim,
            settings.seed,
            checkpoint.device,
            checkpoint.dtype,
            tied(self.modules),
        )
        if self.projection.dim > MAX_DIM:
            raise CheckpointError(
                f"CONGRAD_PROJECTION=exact: a gradient has {self.projection.dim} numbers, and {MAX_DIM} at most are "
                "kept; narrow CONGRAD_TARGET_MODULES, or take another projection"
            )
        self._budget = Budget(settings.max_batch_tokens or (8192 if checkpoint.device.type == "cuda" else 4096))
        self.costs = Costs.of(checkpoint.device.type, self._layer_weights, attends_at_once(checkpoint))
        self._has_unit_gradients = settings.unit_gradients
        self._collector = Collector(self.modules, self.projection)
        self._last_block = last_block(checkpoint)
        self._chains = chains(checkpoint.model)
        self._products = float8_products(checkpoint.model) if settings.fp8 else StandIns(())
        if settings.gradient_checkpointing:
            recompute_layers(checkpoint.model)

    @property
    def _layer_weights(self) -> float:
        """Of the linear layers of a decoder layer, those below an adapter too."""
        blocks = decoder_blocks(self.checkpoint.model).values()
        layers = max(sum(map(len, blocks)), 1)
        return sum(p.numel() for layer in blocks for p in layer.parameters()) / layers

    def restricted(self, layouts: Sequence[Layout]) -> "GradientEngine":
        """The same engine, with all that it has counted, in some of its layouts."""
        other = copy.copy(self)
        other.layouts = tuple(layouts)
        return other

    @property
    def rounds_otherwise(self) -> bool:
        """Whether chains of operations are computed in fewer, in a precision in which that shows."""
        return bool(self._chains) and self.checkpoint.dtype in (torch.bfloat16, torch.float16)

    def unfused(self) -> "GradientEngine":
        """The same engine with the model's own chains of operations."""
        other = copy.copy(self)
        other._chains = StandIns(())
        return other

    @property
    def has_lost_its_device(self) -> bool:
        """Whether nothing can be computed in this process any more. Asks the devices, and so waits for them."""
        return are_lost({parameter.device for parameter in self.checkpoint.model.parameters()})

    @property
    def batch_tokens(self) -> int:
        """Tokens of one micro-batch, as the device's memory allows them."""
        return self._budget.tokens

    def compute(self, pairs: Sequence[EncodedPair], go_on: Callable[[], object] = lambda: None) -> Gradients:
        """Gradients of ``pairs``, in their order.

        :param go_on: called before each micro-batch; raises where there is no use in more of them.
        """
        pairs = [self.seen(pair) for pair in pairs]
        values = np.zeros((len(pairs), self.projection.dim), dtype=np.float32)
        too_long: list[int] = []
        overflows = self.activity.overflows
        parts: list[tuple[list[int], Tensor]] = []
        for layout, sizes in self._by_kind(pairs):
            for group in layout.groups(sizes, self._budget.tokens, self.costs):
                go_on()
                computed, failed = self._group_gradients(pairs, group, layout)
                parts += computed
                too_long += failed
        if self.activity.overflows == overflows:
            self._budget.sufficed()
        if self.checkpoint.device.type == "cuda":
            # Once for all batches: until here nothing has waited for the device.
            torch.cuda.current_stream(self.checkpoint.device).synchronize()
        for group, part in parts:
            values[group] = part.numpy()
        if self._has_unit_gradients:
            values = unit_rows(values)
        values[too_long] = np.nan
        out_of_memory = np.zeros(len(pairs), dtype=np.bool_)
        out_of_memory[too_long] = True
        return Gradients(values, out_of_memory)

    def seen(self, pair: EncodedPair) -> EncodedPair:
        """What of a pair the loss looks at: all that its gradient depends on, beside the checkpoint."""
        if self.loss.compares and (self.loss.needs_reference or pair.ref_logps is None):
            return pair
        return replace(
            pair,
            rejected_ids=pair.rejected_ids if self.loss.compares else [],
            ref_logps=pair.ref_logps if self.loss.needs_reference else None,
        )

    def _by_kind(self, pairs: Sequence[EncodedPair]) -> list[tuple[Layout, dict[int, int]]]:
        """Which pairs may be in one batch, how they are laid out, and the tokens of each. Those without a gradient are
        in none."""
        sizes: dict[tuple[int, int], dict[int, int]] = {}
        thresholds = self.checkpoint.thresholds
        for position, pair in enumerate(pairs):
            if self._has_gradient(pair):
                suited = [kind for kind, layout in enumerate(self.layouts) if layout.suits(pair)]
                kind = min(suited, key=lambda kind: self.layouts[kind].cost(pair, self.costs))
                passed = sum(pair.length > threshold for threshold in thresholds)
                sizes.setdefault((kind, passed), {})[position] = self.layouts[kind].tokens(pair)
        return [(self.layouts[kind], of_kind) for (kind, _), of_kind in sorted(sizes.items())]

    def _has_gradient(self, pair: EncodedPair) -> bool:
        """Whether it is worth a pass: of completions that are the same, the loss may learn nothing."""
        if not pair.is_tie:
            return True
        is_own_reference = self.checkpoint.reference == "policy" and pair.ref_logps is None
        return bool(pair.chosen_ids) and self._learns_ties[is_own_reference]

    def _group_gradients(
        self, pairs: Sequence[EncodedPair], group: list[int], layout: Layout
    ) -> tuple[list[tuple[list[int], Tensor]], list[int]]:
        """The gradients of a group, on their way to the host, in halves where the device's memory asks for it; and the
        positions of pairs that do not fit alone."""
        try:
            part = _to_host(self.batch_gradients([pairs[i] for i in group], layout))
            self._count([pairs[i] for i in group], layout)
            return [(group, part)], []
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        self.activity.count_overflow()
        # Not in the block above: there, the error keeps all tensors of the failed batch alive.
        if self.checkpoint.device.type == "cuda":
            torch.cuda.empty_cache()
        tokens = layout.batch_tokens([pairs[i] for i in group])
        if len(group) == 1:
            log.error("a pair of %d tokens does not fit into the memory of %s", tokens, self.checkpoint.device)
            return [], group
        self._budget.exceeded(tokens)
        log.warning("out of memory with %d tokens; later requests have batches of %d", tokens, self._budget.tokens)
        halves = (group[: len(group) // 2], group[len(group) // 2 :])
        (first, failed), (second, failed_too) = (self._group_gradients(pairs, half, layout) for half in halves)
        return first + second, failed + failed_too

    def _count(self, group: Sequence[EncodedPair], layout: Layout) -> None:
        tokens = sum(pair.spans.total for pair in group)
        self.activity.count(tokens, layout.batch_tokens(group))

    def batch_gradients(self, pairs: Sequence[EncodedPair], layout: Layout) -> Tensor:
        """The gradients of one micro-batch, on the device: float32 ``[pairs, D]``."""
        batch = layout.batch(pairs, self.checkpoint.pad_id).to(self.checkpoint.device)
        with torch.enable_grad(), self.running(batch, layout), self._collector.collecting(batch, layout) as target:
            policy = self._policy_logps(batch)
            reference = self._reference_logps(batch, policy)
            derivatives, scales = divided_derivatives(
                lambda own, other: self.loss(own, other, batch.lengths), policy, reference, batch.ties
            )
            torch.autograd.backward(policy.sides, derivatives)
        return self._scaled(target, scales)

    def _scaled(self, target: Tensor, scales: Tensor) -> Tensor:
        """Gradients multiplied with what derivatives were divided by, float32 ``[pairs, D]``; no smaller and no larger
        than they can be told in float32 where they get length 1 in the end."""
        told = scales.clamp(SMALL, 1 / SMALL)
        found = target * told.float()[:, None]
        # A power of two and what is left of it: a scale without an exponent in float32 is a few bits there.
        return found if self._has_unit_gradients else found.mul_((scales / told).float()[:, None])

    @contextmanager
    def running(self, batch: Batch, layout: Layout) -> Iterator[None]:
        """What every pass over a batch is computed in, its backward pass included: sequences that share a row do not
        see each other, nothing is computed for nobody, chains of operations are fused, and products have the bits that
        they are to have."""
        with (
            layout.apart(batch),
            self._last_block.predicting(batch),
            self._chains.in_place(),
            self._products.in_place(),
        ):
            yield

    def _policy_logps(self, batch: Batch) -> PairLogps:
        if not self.loss.weighs_pairs:
            return self._sequence_logps(self.checkpoint.model, batch)
        values, collisions = token_logps_and_collisions(self.checkpoint.model, batch)
        tokens = TokenLogps(values, batch.targets.completions, batch.targets.offsets, collisions)
        return self.loss.sequence_logps(tokens, batch.lengths)

    def _sequence_logps(self, model: Model, batch: Batch) -> PairLogps:
        tokens = TokenLogps(token_logps(model, batch), batch.targets.completions, batch.targets.offsets)
        return self.loss.sequence_logps(tokens, batch.lengths)

    @torch.no_grad()
    def _reference_logps(self, batch: Batch, policy: PairLogps) -> PairLogps:
        """What the samples brought along; for the others the reference model's, which may be the policy itself."""
        own = PairLogps(policy.chosen.detach(), policy.rejected.detach())
        if not self.loss.needs_reference:
            return own
        if batch.needs_reference:
            with self.checkpoint.as_reference() as reference:
                own = own if reference is None else self._sequence_logps(reference, batch)
        chosen, rejected = batch.ref_logps.unbind(1)
        return PairLogps(
            torch.where(chosen.isnan(), own.chosen, chosen), torch.where(rejected.isnan(), own.rejected, rejected)
        )


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 ``[n, D]``; those that are zero or not finite are left as they are."""
    norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    scaled: np.ndarray = values / np.where(np.isfinite(norms) & (norms > 0), norms, 1.0)
    return scaled.astype(np.float32)


def _to_host(values: Tensor) -> Tensor:
    """Begins the copy to the host, and does not wait for it."""
    if values.device.type != "cuda":
        return values.cpu()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)
