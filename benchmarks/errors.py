"""How far each arm's gradients are from autograd's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.settings import GradientSettings
from transformers import PreTrainedModel

from benchmarks.arms import PLAIN, Baselines, compressed_gradients, make_engine
from benchmarks.peer.client import BergsonArm
from benchmarks.truth import BYTES_FOR_EXACT, flat, pair_gradients, projected, relative_error, target_weights

Errors = dict[str, dict[str, float]]
"""By arm: what was compared, and the relative error of the worst pair."""


@dataclass(frozen=True)
class Subject:
    """What is checked, and on which pairs."""

    model: PreTrainedModel
    checkpoint: Checkpoint  # of the model
    settings: GradientSettings
    targets: list[str]
    pairs: list[EncodedPair]

    @property
    def fits(self) -> bool:
        """Whether uncompressed gradients of the pairs can be held at once."""
        weights = target_weights(self.model, self.targets)
        return 4 * len(self.pairs) * sum(weight.numel() for weight in weights) <= BYTES_FOR_EXACT


def check(
    subject: Subject, baselines: Baselines, engines: dict[str, GradientEngine], bergson: BergsonArm | None, folder: Path
) -> Errors:
    """The errors of all arms that yield gradients."""
    errors: Errors = {key: {} for key in (PLAIN, "one_by_one", *engines)}
    whole, compressed = _truths(subject, engines)
    for key, engine in engines.items():
        errors[key]["compressed"] = relative_error(compressed_gradients(engine, subject.pairs), compressed[key])
    if whole is None:
        return errors
    for key in engines:
        settings = subject.settings.model_copy(update={"projection": "exact"})
        exact = make_engine(subject.checkpoint, settings, key)
        errors[key]["exact"] = relative_error(compressed_gradients(exact, subject.pairs), whole)
    by_pair = np.stack([_left(subject, baselines, [pair]) for pair in subject.pairs])
    errors["one_by_one"]["exact"] = relative_error(by_pair, whole)
    errors[PLAIN]["summed"] = relative_error(_left(subject, baselines, subject.pairs), whole.sum(0))
    if bergson is not None:
        errors[bergson.key] = {"exact": relative_error(bergson.whole_gradients(subject.pairs, folder), whole)}
    return errors


def _truths(subject: Subject, engines: dict[str, GradientEngine]) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """autograd's gradients, whole where they fit, and through each engine's projection."""
    whole: list[np.ndarray] = []
    compressed: dict[str, list[np.ndarray]] = {key: [] for key in engines}
    beta = subject.settings.beta
    for gradients in pair_gradients(subject.model, subject.targets, subject.pairs, beta):
        if subject.fits:
            whole.append(flat(gradients))
        for key, engine in engines.items():
            compressed[key].append(projected(engine.projection, subject.targets, gradients))
    return np.stack(whole) if whole else None, {key: np.stack(rows) for key, rows in compressed.items()}


def _left(subject: Subject, baselines: Baselines, batch: Sequence[EncodedPair]) -> np.ndarray:
    """The gradient that a baseline leaves in the target weights, summed over a batch."""
    model = subject.model
    weights = target_weights(model, subject.targets)
    baselines.leave_gradient(batch, weights)
    gradient = flat([weight.grad for weight in weights if isinstance(weight.grad, torch.Tensor)])
    model.zero_grad(set_to_none=True)
    return gradient
