"""One seed of the completions: pretraining, scores, and how well each finds the noise."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from congrad.contract import wire
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.direction import Samples
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings
from scipy.stats import rankdata
from transformers.utils.logging import disable_progress_bar

from benchmarks.planted import pretraining
from benchmarks.planted.likelihoods import sequence_logps
from benchmarks.planted.scoring import ask, conflict, rules
from benchmarks.planted.sft import NOISE, Fault, PlantedRow, planted_rows
from benchmarks.planted.statistics import auroc, average_precision
from benchmarks.planted.vocabulary import tokenizer as tokenizer_of
from benchmarks.planted.world import Author, World

LEARNT, UNLEARNT = "learnt", "unlearnt"
STEPS = {LEARNT: 1200, UNLEARNT: 60}
"""Of pretraining: as many as in `benchmarks/effect.py`, and so few that the model has the words and not the task."""
ALL = "all noise"
LENGTH, LOSS = "length", "loss"
CONFLICT, CONFLICT_MLP = "CONGRAD", "CONGRAD, MLP only"
EITHER, EITHER_MLP = "loss or CONGRAD", "loss or CONGRAD, MLP only"


def run(world: World, seed: int, steps: int) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    torch.manual_seed(seed)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    author = Author(world, seed)
    tokenizer = tokenizer_of(world.languages)
    model = pretraining.build(tokenizer, len(world.languages))
    pretraining.pretrain(model, tokenizer, author, steps)
    rows = planted_rows(author, seed)
    samples = [row.sample for row in rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        pairs, gradients = compute(folder, samples)
        _, gradients_mlp = compute(folder, samples, r"\.mlp\.")
    all_layers, mlp = conflict(ask(gradients, rules())), conflict(ask(gradients_mlp, rules()))
    lengths = np.array([len(pair.chosen_ids) for pair in pairs])
    losses = -sequence_logps(model, pairs)[:, 0] / lengths
    found = {
        LENGTH: lengths.astype(float),
        LOSS: losses,
        CONFLICT: all_layers,
        CONFLICT_MLP: mlp,
        EITHER: either(losses, all_layers),
        EITHER_MLP: either(losses, mlp),
    }
    faults = np.array([row.fault for row in rows])
    return {
        "seed": seed,
        "rows": _counts(rows),
        "detection": {name: detection(scores, faults) for name, scores in found.items()},
        "dropped": {
            "max_conflict = 0": _shares(all_layers > 0, faults),
            **{f"{name}, a fifth": _shares(_highest(found[name]), faults) for name in (LOSS, CONFLICT, EITHER_MLP)},
        },
    }


def compute(
    folder: Path, samples: Sequence[wire.PromptCompletion], modules: str | None = None
) -> tuple[list[EncodedPair], Samples]:
    """Token ids, and compressed gradients with a worker's default settings but for the loss and which layers."""
    settings = GradientSettings(
        model=str(folder), device="cpu", loss="sft", target_modules=modules, unit_gradients=False
    )
    engine = verified_engine(load(locate(settings), settings), settings)
    encoder = Encoder(engine.checkpoint.tokenizer, engine.checkpoint.max_length)
    pairs = [encoder.encode(sample) for sample in samples]
    return pairs, Samples.of(engine.compute(pairs).values, [sample.language for sample in samples])


def either(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What is among the highest by one score or by the other: the larger of both ranks, float64 ``[n]``."""
    highest: np.ndarray = np.maximum(rankdata(first), rankdata(second))
    return highest


def detection(scores: np.ndarray, faults: np.ndarray) -> dict[str, dict[str, float]]:
    """How well ``scores`` find all noise among all rows, and each kind among it and the clean rows."""
    kinds = [fault for fault in Fault if fault is not Fault.NONE]
    parts = {ALL: np.ones_like(faults, dtype=bool)}
    parts |= {kind: (faults == kind) | (faults == Fault.NONE) for kind in kinds}
    truth = faults != Fault.NONE
    return {
        name: {
            "auroc": auroc(scores[part], truth[part]),
            "average_precision": average_precision(scores[part], truth[part]),
        }
        for name, part in parts.items()
    }


def _highest(scores: np.ndarray) -> np.ndarray:
    """The rows that go where as many are dropped as there is noise."""
    return np.asarray(scores >= np.quantile(scores, 1 - NOISE))


def _shares(dropped: np.ndarray, faults: np.ndarray) -> dict[str, float]:
    return {fault: float(dropped[faults == fault].mean()) for fault in Fault}


def _counts(rows: Sequence[PlantedRow]) -> dict[str, int]:
    return {fault: sum(row.fault is fault for row in rows) for fault in Fault}
