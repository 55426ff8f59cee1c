"""One seed of one world, from the first text to the trained models."""

import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from benchmarks.planted import ablations, arms, pretraining
from benchmarks.planted.likelihoods import HeldOut, sequence_logps
from benchmarks.planted.scoring import encode, gradients
from benchmarks.planted.statistics import auroc, average_precision
from benchmarks.planted.training import Recipe, train
from benchmarks.planted.vocabulary import tokenizer as tokenizer_of
from benchmarks.planted.world import Author, Kind, PlantedPair, World

BINS = np.linspace(-1, 1, 81).tolist()
"""Of histograms of conflict scores."""


@dataclass(frozen=True)
class Budget:
    """How long models are trained, the pretraining in steps, and what else is done."""

    pretraining: int = 1200
    preference: Recipe = field(default_factory=lambda: Recipe(steps=100))
    arms: Collection[str] | None = None  # None: all
    ablations: bool = True
    compressions: bool = True  # among them
    trained_ablations: Collection[str] = ()  # of which a threshold at 0 is an arm, too


def run(world: World, seed: int, budget: Budget) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    torch.manual_seed(seed)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    author = Author(world, seed)
    tokenizer = tokenizer_of(world.languages)
    model = pretraining.build(tokenizer, len(world.languages))
    pretraining.pretrain(model, tokenizer, author, budget.pretraining)
    planted, held_out = author.training_pairs(), author.held_out_pairs()
    texts = [author.tax_text(i) for i in range(len(world.languages)) for _ in range(world.tax_texts)]
    samples = [pair.sample for pair in planted]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        gradient_samples = gradients(folder, samples)
        pairs = encode(folder, samples)
        held = HeldOut(
            encode(folder, [pair.sample for pair in held_out]),
            np.repeat(np.arange(len(world.languages)) < world.seen, world.held_out),
            pretraining.encode(tokenizer, texts),
        )
        ablated = ablations.ablated_scores(gradient_samples) if budget.ablations else {}
        if budget.ablations and budget.compressions:
            ablated |= ablations.recompressed_scores(folder, samples)
    conflicts = np.array([pair.conflicts for pair in planted])
    evidence = arms.Evidence(gradient_samples, pairs, sequence_logps(model, pairs), conflicts)
    found = arms.scores(evidence)
    kept = arms.selections(evidence, found, seed)
    chosen = {name: keep for name, keep in kept.items() if budget.arms is None or name in budget.arms}
    chosen |= {name: ablated[name] <= arms.THRESHOLD_AT for name in budget.trained_ablations}
    before = sequence_logps(model, held.pairs)

    def outcome(keep: np.ndarray) -> dict[str, Any]:
        rows = [samples[i] for i in np.flatnonzero(keep)]
        curve = train(model, tokenizer, rows, budget.preference, seed, lambda trained: held.measure(trained, before))
        return _selection(keep, conflicts) | curve[-1] | {"curve": curve}

    return {
        "seed": seed,
        "conflicts": float(conflicts.mean()),
        "start": held.measure(model, before),
        "detection": {name: _detection(scores, conflicts) for name, scores in found.items()},
        "ablations": {name: _detection(scores, conflicts) for name, scores in ablated.items()},
        "histogram": _histogram(planted, found[arms.THRESHOLD]),
        "dropped": _dropped(planted, kept[arms.THRESHOLD]),
        "arms": {name: outcome(keep) for name, keep in chosen.items()},
    }


def _detection(scores: np.ndarray, conflicts: np.ndarray) -> dict[str, float]:
    return {"auroc": auroc(scores, conflicts), "average_precision": average_precision(scores, conflicts)}


def _selection(keep: np.ndarray, conflicts: np.ndarray) -> dict[str, float]:
    """How many are kept, and the share of conflicts among them."""
    return {"kept": int(keep.sum()), "conflicts_kept": float(conflicts[keep].mean())}


def _histogram(planted: list[PlantedPair], scores: np.ndarray) -> dict[str, list[int]]:
    """How many conflict scores lie between `BINS`, by how pairs came by their labels."""
    kinds = np.array([pair.kind for pair in planted])
    return {kind: np.histogram(scores[kinds == kind], BINS)[0].tolist() for kind in Kind if kind in kinds}


def _dropped(planted: list[PlantedPair], keep: np.ndarray) -> dict[str, float]:
    """The share that the threshold drops, by how pairs came by their labels."""
    kinds = [pair.kind for pair in planted]
    dropped = Counter(kind for kind, kept in zip(kinds, keep, strict=True) if not kept)
    return {kind: dropped[kind] / kinds.count(kind) for kind in Kind if kind in kinds}
