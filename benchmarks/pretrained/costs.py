"""What a choice of layers costs, and how true compressed gradients are to the exact ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from congrad_worker.checkpoints.checkpoint import Checkpoint, load
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.verification import verify
from congrad_worker.settings import GradientSettings
from scipy.stats import spearmanr

from benchmarks.pretrained.evidence import gram
from benchmarks.pretrained.pairs import Pairs
from benchmarks.pretrained.parts import choices, pattern
from benchmarks.pretrained.scores import Inner

ROUNDS = 3
"""In turn over all choices, so that what else the machine does falls on all of them; the fastest round counts."""
COMPRESSIONS = ((64, 4_096), (64, 16_384), (128, 4_096), (128, 16_384), (128, 65_536), (256, 65_536))
"""k and D."""


@dataclass(frozen=True)
class Fidelity:
    """Of one compression: the Spearman correlation of scores with exact ones, and of cosines between pairs."""

    rank: int
    dim: int
    scores: float
    cosines: float


def _checkpoint(model: Path) -> tuple[Checkpoint, GradientSettings]:
    settings = GradientSettings(model=str(model), device="cpu")
    return load(locate(settings), settings), settings


def seconds(model: Path, pairs: Sequence[EncodedPair]) -> dict[str, float]:
    """By choice of layers, processor seconds for the pairs: they count no time in which others had the processor."""
    checkpoint, settings = _checkpoint(model)
    layers = checkpoint.model.config.get_text_config().num_hidden_layers
    whole = GradientEngine(checkpoint, settings)
    sound = verify(whole).layouts
    engines = {
        name: GradientEngine(
            checkpoint, settings.model_copy(update={"target_modules": pattern(name, layers)})
        ).restricted(sound)
        for name in choices(layers)
    }
    best = dict.fromkeys(engines, np.inf)
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            begun = time.process_time()
            engine.compute(pairs)
            best[name] = min(best[name], time.process_time() - begun)
    return best


def fidelity(model: Path, pairs: Pairs) -> list[Fidelity]:
    """Each of `COMPRESSIONS` beside exact gradients, on pairs few enough for these: 2 bytes a weight and pair."""
    checkpoint, settings = _checkpoint(model)
    truth = _cosines(_exact(GradientEngine(checkpoint, settings.model_copy(update={"projection": "exact"})), pairs))
    found = []
    for rank, dim in COMPRESSIONS:
        wanted = settings.model_copy(update={"projection_rank": rank, "projection_dim": dim})
        compressed = _cosines(gram(GradientEngine(checkpoint, wanted).compute(pairs.encoded).values))
        above = np.triu_indices(len(truth), 1)
        correlation = spearmanr(compressed[above], truth[above]).statistic
        scores = spearmanr(*(Inner.of(each, pairs.languages).by("mean") for each in (compressed, truth))).statistic
        found.append(Fidelity(rank, dim, float(scores), float(correlation)))
    return found


def _exact(engine: GradientEngine, pairs: Pairs) -> np.ndarray:
    """Inner products of whole gradients: float64 ``[n, n]``. One is held in single precision at a time."""
    rows: list[np.ndarray] = []
    products = np.zeros((len(pairs.encoded), len(pairs.encoded)))
    for i, pair in enumerate(pairs.encoded):
        row = engine.compute([pair]).values[0]  # of length 1: half precision will do
        rows.append(row.astype(np.float16))
        for j, other in enumerate(rows):
            products[i, j] = products[j, i] = row @ other.astype(np.float32)
    return products


def _cosines(products: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.diagonal(products))
    cosines: np.ndarray = products / np.outer(norms, norms)
    return cosines
