"""Deciding a job: fold its gradients into the direction, score them against it, select. No Redis, no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from congrad.contract import wire
from congrad.contract.summary import summarise

from congrad_worker.decisions.consensus import Consensus, Rule, consensus
from congrad_worker.decisions.direction import RECENT, Folded, LanguageState, Samples, Stake, fold, unfolded
from congrad_worker.decisions.scores import Proceed, Scores, no_scores, nothing, score
from congrad_worker.decisions.selection import select


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

    rule: Rule
    half_life: float
    max_languages: int = 256


@dataclass(frozen=True)
class Outcome:
    """Decisions, the language states after the job, its samples' stakes in them, and the direction that they were
    scored against; None where there is none."""

    decisions: list[wire.Decision]
    summary: wire.Summary
    languages: dict[str, LanguageState]
    stakes: dict[str, Stake]
    consensus: Consensus | None


def decide(
    question: Question,
    languages: dict[str, LanguageState],
    rules: Rules,
    before: Consensus | None = None,
    proceed: Proceed = nothing,
) -> Outcome:
    """Answers a job, given the language states of its direction before it.

    :param before: the consensus of these states, or of earlier ones, as far as it is known.
    :param proceed: called between the steps; what it raises ends the decision.
    """
    samples = question.samples
    if question.update:
        folded = fold(languages, samples, rules.half_life)
    else:
        folded = unfolded(languages, samples, question.stakes, rules.half_life)
    proceed()
    direction = consensus(folded.languages, rules.rule, before) if folded.languages else None
    scores = no_scores(samples) if direction is None else score(samples, folded, direction, proceed)
    recent = {tag: state.recent for tag, state in folded.languages.items()}
    keep = select(question.selection, scores.conflict, scores.reasons, samples.languages, recent)
    decisions = _decisions(question, scores, keep)
    states = _with_recent(folded, samples, scores) if question.update else folded.languages
    return Outcome(decisions, summarise(decisions), states, folded.stakes, direction)


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
