"""What each part of the score is worth: the score with one part changed at a time, on the same pairs and model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from congrad.contract import wire
from congrad_worker.decisions.aggregation.aggregators import aggregator
from congrad_worker.decisions.aggregation.surgery import Surgery, project_conflicts
from congrad_worker.decisions.direction import LanguageState, Samples
from congrad_worker.randomness import generator

from benchmarks.planted.scoring import ask, conflict, gradients, part, rules, unit_gradients

DEFAULT = "default"
REQUEST = 32
"""Pairs a request where they come as a stream."""
HALF_LIVES = (8.0, 32.0, 128.0, 1024.0, float("inf"))
MLP_UNITS = "MLP only, unit gradients"
COMPRESSIONS: dict[str, dict[str, Any]] = {
    "exact": {"projection": "exact"},
    "kronecker, k = 32, D = 16,384": {"projection_rank": 32},
    "kronecker, k = 32, D = 1,024": {"projection_rank": 32, "projection_dim": 1024},
    "flora, k = 32, D = 16,384": {"projection": "flora", "projection_rank": 32},
    "attention only": {"target_modules": "self_attn"},
    "MLP only": {"target_modules": "mlp"},
    MLP_UNITS: {"target_modules": "mlp", "unit_gradients": True},
}
"""Projections, and which layers."""
STREAM = f"requests of {REQUEST}, half-life 1024"
"""As a training loop that posts its batches would filter."""


def one_order(gram: np.ndarray, seed: int) -> Surgery:
    """PCGrad in one random order, as published."""
    languages = np.arange(len(gram))
    order = generator(seed, "one order", len(gram)).permutation(languages)
    others = np.stack([order[order != language] for language in languages], axis=1)
    coefficients = np.eye(len(gram)) + project_conflicts(gram, languages, others)
    return Surgery(coefficients.mean(0), coefficients)


def own_share_left_in(samples: Samples) -> np.ndarray:
    """Scores against a direction that each pair is part of."""
    folded = ask(samples, rules()).languages
    return conflict(ask(samples, rules(), languages=folded, update=False))


def streamed(samples: Samples, half_life: float) -> np.ndarray:
    """One request after another, each scored against the direction so far."""
    how, found = rules(half_life=half_life), []
    languages: dict[str, LanguageState] = {}
    for start in range(0, len(samples.norms), REQUEST):
        request = part(samples, np.arange(start, min(start + REQUEST, len(samples.norms))))
        outcome = ask(request, how, languages=languages)
        languages = outcome.languages
        found.append(conflict(outcome))
    return np.concatenate(found)


def ablated_scores(samples: Samples) -> dict[str, np.ndarray]:
    """By what was changed with the same gradients: conflict scores, float64 ``[n]``."""
    found = {DEFAULT: conflict(ask(samples, rules()))}
    for name in ("mean", "upgrad", "mgda", "cagrad"):
        found[f"aggregator {name}"] = conflict(ask(samples, rules(aggregator(name))))
    found["PCGrad, one order"] = conflict(ask(samples, rules(one_order)))
    found["unit gradients"] = conflict(ask(unit_gradients(samples), rules()))
    found["own share left in"] = own_share_left_in(samples)
    for half_life in HALF_LIVES:
        found[f"requests of {REQUEST}, half-life {half_life:g}"] = streamed(samples, half_life)
    return found


def recompressed_scores(folder: Path, texts: Sequence[wire.Sample]) -> dict[str, np.ndarray]:
    """By how gradients were taken: conflict scores, float64 ``[n]``."""
    return {name: conflict(ask(gradients(folder, texts, **options), rules())) for name, options in COMPRESSIONS.items()}
