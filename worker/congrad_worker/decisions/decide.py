"""Deciding a job: fold its gradients into the direction, score them against it, select. No Redis, no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from congrad.contract import wire
from congrad.contract.summary import summarise

from congrad_worker.decisions.direction import RECENT, Folded, LanguageState, Samples, Stake, fold, unfolded
from congrad_worker.decisions.scores import Consensus, Scores, consensus, no_scores, score
from congrad_worker.decisions.selection import select
from congrad_worker.decisions.surgery import Aggregator


@dataclass(frozen=True)
class Question:
    """What a job asks: its samples' ids, their gradients, and whether completions were cut. ``stakes`` are what the
    samples have in this life of the direction from an earlier job; only where this one does not update."""

    ids: Sequence[str]
    samples: Samples
    truncated: Sequence[bool]
    selection: wire.ThresholdSelection | wire.FractionSelection
    update: bool
    stakes: Mapping[str, Stake] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """How a decide worker is set up."""

    aggregator_name: str
    aggregator: Aggregator
    half_life: float
    seed: int


@dataclass(frozen=True)
class Outcome:
    """Decisions, the language states after the job, and its samples' stakes in them. ``geometry`` is what the routes
    show of the direction."""

    decisions: list[wire.Decision]
    summary: wire.Summary
    languages: dict[str, LanguageState]
    stakes: dict[str, Stake]
    geometry: dict[str, Any]


def decide(question: Question, languages: dict[str, LanguageState], rules: Rules) -> Outcome:
    """Answers a job, given the language states of its direction before it."""
    samples = question.samples
    if question.update:
        folded = fold(languages, samples, rules.half_life)
    else:
        folded = unfolded(languages, samples, question.stakes, rules.half_life)
    if folded.languages:
        direction, gradients = consensus(folded, rules.aggregator, rules.seed)
        scores = score(samples, folded, direction, gradients)
        geometry = _geometry(direction, rules)
    else:
        scores, geometry = no_scores(samples), {}
    recent = {tag: state.recent for tag, state in folded.languages.items()}
    keep = select(question.selection, scores.conflict, scores.reasons, samples.languages, recent)
    decisions = _decisions(question, scores, keep)
    states = _with_recent(folded, samples, scores) if question.update else folded.languages
    return Outcome(decisions, summarise(decisions), states, folded.stakes, geometry)


def _decisions(question: Question, scores: Scores, keep: np.ndarray) -> list[wire.Decision]:
    return [
        wire.Decision(
            id=question.ids[i],
            language=question.samples.languages[i],
            keep=bool(keep[i]),
            conflict_score=None if np.isnan(scores.conflict[i]) else float(scores.conflict[i]),
            conflicts_with=scores.conflicts_with[i],
            truncated=question.truncated[i],
            reason=scores.reasons[i],
        )
        for i in range(len(question.ids))
    ]


def _with_recent(folded: Folded, samples: Samples, scores: Scores) -> dict[str, LanguageState]:
    """The states with this job's scores behind the earlier ones."""
    tags = np.array(samples.languages)
    scored = ~np.isnan(scores.conflict)
    states = dict(folded.languages)
    for tag in set(samples.languages) & states.keys():
        fresh = scores.conflict[(tags == tag) & scored].astype(np.float32)
        recent = np.concatenate([states[tag].recent, fresh])[-RECENT:]
        states[tag] = replace(states[tag], recent=recent)
    return states


def _geometry(direction: Consensus, rules: Rules) -> dict[str, Any]:
    """Norms and cosines, before surgery and after, as JSON."""
    gram, coefficients = direction.gram, direction.surgery.deconflicted
    norms = np.sqrt(np.diagonal(gram))
    products = coefficients @ gram  # ⟨v_i, ĝ_j⟩
    lengths = np.sqrt(np.maximum(np.einsum("ij,ij->i", products, coefficients), 0.0))  # ‖v_i‖
    return {
        "norm": float(np.sqrt(max(direction.norm_squared, 0.0))),
        "cosines_before": _cosines(gram, norms, norms),
        "cosines_after": _cosines(products, lengths, norms),
        "norms": dict(zip(direction.tags, norms.tolist(), strict=True)),
        "half_life": None if np.isinf(rules.half_life) else rules.half_life,
        "aggregator": {"name": rules.aggregator_name, "orders": direction.surgery.orders, "seed": rules.seed},
    }


def _cosines(products: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[list[float]]:
    scale = np.outer(rows, columns)
    cosines = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    rounded: list[list[float]] = np.round(np.clip(cosines, -1, 1), 6).tolist()
    return rounded
