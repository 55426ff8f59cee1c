"""The ways to be compared that run in this process: DPO as trainers do it, one pair at a time, and the engine."""

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import LAYOUTS, GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings
from transformers import PreTrainedModel

from benchmarks import rows
from benchmarks.memory import live_bytes, peak_bytes
from benchmarks.truth import target_weights

PLAIN = "plain"
"""The arm that the others are divided by."""


@dataclass(frozen=True)
class Work:
    """The same for each arm: some pairs, and the batches that two padded rows a pair are computed in."""

    pairs: list[EncodedPair]
    batches: list[list[EncodedPair]]


class Arm(Protocol):
    """One way of computing something for every pair."""

    @property
    def key(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def state_bytes(self) -> int:
        """What the arm keeps between batches beside the weights: its projections."""

    def seconds(self, work: Work) -> float:
        """One pass over the work, timed."""

    def peak_bytes(self, work: Work) -> int:
        """One pass, with the most memory that it takes beyond the weights and the state."""


@dataclass(frozen=True)
class LocalArm:
    """An arm that runs here."""

    key: str
    label: str
    run: Callable[[Work], object]
    device: torch.device
    state_bytes: int = 0

    def seconds(self, work: Work) -> float:
        gc.collect()  # what other arms left is not this one's to tidy up
        _wait(self.device)
        start = time.perf_counter()
        self.run(work)
        _wait(self.device)
        return time.perf_counter() - start

    def peak_bytes(self, work: Work) -> int:
        return peak_bytes(lambda: self.run(work), self.device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Baselines:
    """DPO by autograd on one model. The reference is the policy itself except where a reference forward is measured."""

    def __init__(self, model: PreTrainedModel, targets: Sequence[str], beta: float):
        self._model = model
        self._targets = targets
        self._beta = beta

    def arms(self) -> list[LocalArm]:
        """In the order of the report."""
        device = self._model.device
        return [
            LocalArm("forward", "DPO forward, no gradient", self.forward, device),
            LocalArm(PLAIN, "plain DPO forward + backward", self.plain, device),
            LocalArm("plain_reference", "the same with a reference forward", self.plain_with_reference, device),
            LocalArm("one_by_one", "one pair at a time, full gradients", self.one_by_one, device),
        ]

    @torch.no_grad()
    def forward(self, work: Work) -> None:
        """The loss alone."""
        for batch in work.batches:
            margins = self._margins(batch)
            rows.loss(margins, margins, self._beta)

    def plain(self, work: Work) -> None:
        """A training step's forward and backward, all weights trained."""
        for batch in work.batches:
            self.leave_gradient(batch, self._model.parameters())
            self._model.zero_grad(set_to_none=True)

    def plain_with_reference(self, work: Work) -> None:
        """As `plain`, after a forward of the reference; the policy stands in for it, so no second model is kept."""
        for batch in work.batches:
            with torch.no_grad():
                reference = self._margins(batch)
            self.leave_gradient(batch, self._model.parameters(), reference)
            self._model.zero_grad(set_to_none=True)

    def one_by_one(self, work: Work) -> None:
        """The gradient of each pair in the target weights, one after the other; nothing else gets a gradient."""
        for pair in work.pairs:
            self.leave_gradient([pair], target_weights(self._model, self._targets))
            self._model.zero_grad(set_to_none=True)

    def leave_gradient(
        self,
        batch: Sequence[EncodedPair],
        trained: Iterable[torch.nn.Parameter],
        reference: torch.Tensor | None = None,
    ) -> None:
        """Leaves the gradient of the batch's loss in the ``grad`` of the trained weights."""
        for weight in trained:
            weight.requires_grad_(True)
        margins = self._margins(batch)
        reference = margins.detach() if reference is None else reference
        torch.autograd.backward(rows.loss(margins, reference, self._beta))
        self._model.requires_grad_(False)

    def _margins(self, batch: Sequence[EncodedPair]) -> torch.Tensor:
        return rows.margins(self._model, rows.pad(batch, self._model.device))


ENGINES: dict[str, tuple[str, tuple[Layout, ...]]] = {
    "two_rows": ("CONGRAD, two rows a pair", (TWO_ROWS,)),
    "shared_prefix": ("CONGRAD, a row a pair", (SHARED_ROW, TWO_ROWS)),
    "packed": ("CONGRAD, all pairs in one row", LAYOUTS),
}
"""Our arms by their keys: what they are called, and the layouts that pairs may have."""


def make_engine(checkpoint: Checkpoint, settings: GradientSettings, key: str) -> GradientEngine:
    """The engine of one of our arms."""
    return verified_engine(checkpoint, settings, ENGINES[key][1])


def compressed_gradients(engine: GradientEngine, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """The engine's gradients: float32 ``[pairs, D]``.

    :raises torch.OutOfMemoryError: a pair did not fit, so that the time would be that of the others.
    """
    gradients = engine.compute(pairs)
    if gradients.out_of_memory.any():
        raise torch.OutOfMemoryError("the engine has left out a pair")
    return gradients.values


def engine_arm(checkpoint: Checkpoint, settings: GradientSettings, key: str) -> tuple[LocalArm, GradientEngine]:
    """The engine as an arm, and the engine."""
    before = live_bytes()
    engine = make_engine(checkpoint, settings, key)
    state = live_bytes() - before
    return LocalArm(key, ENGINES[key][0], partial(_run_engine, engine), checkpoint.device, state), engine


def _run_engine(engine: GradientEngine, work: Work) -> None:
    compressed_gradients(engine, work.pairs)
