"""Deciding a job: fold its gradients into the direction, score them against it, select. No Redis, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from congrad.contract import wire
from congrad.contract.summary import summarise

from congrad_worker.decisions.consensus import Consensus, Rule, consensus
from congrad_worker.decisions.direction import RECENT, Folded, LanguageState, Samples, Stake
from congrad_worker.decisions.memory import Learnt, learn
from congrad_worker.decisions.question import Question
from congrad_worker.decisions.repeats import count, stakes_of
from congrad_worker.decisions.rows.products import Proceed, Products, are_worth_it, nothing, products
from congrad_worker.decisions.scores import Scores, no_scores, score
from congrad_worker.decisions.selection import select


@dataclass(frozen=True)
class Rules:
    """How a decide worker is set up."""

    rule: Rule
    half_life: float
    max_languages: int = 256
    max_pairs: int = 1_000_000


@dataclass(frozen=True)
class Outcome:
    """Decisions, the language states after the job, and the direction that its samples were scored against; None where
    there is none. Of the job: which samples were folded in, bool ``[n]``, the stakes of these, what is to be
    remembered of their pairs, and their products with the languages, where these were taken."""

    decisions: list[wire.Decision]
    summary: wire.Summary
    languages: dict[str, LanguageState]
    consensus: Consensus | None
    new: np.ndarray
    stakes: dict[str, Stake]
    learnt: Learnt
    products: Products | None


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
    counted = count(question, languages, rules.half_life)
    folded = counted.folded
    proceed()
    heard = {tag: state for tag, state in folded.languages.items() if question.heard is None or tag in question.heard}
    direction = consensus(heard, rules.rule, before) if heard else None
    known = question.products
    if known is None and direction is not None and are_worth_it(folded.languages, samples.dim):
        known = products(samples, folded.languages, proceed)
    scores = no_scores(samples) if direction is None else score(samples, folded, direction, proceed, known)
    recent = {tag: state.recent for tag, state in folded.languages.items()}
    ratios = question.ratios or [None] * len(question.ids)
    keep = select(question.selection, scores.conflict, scores.reasons, samples.languages, recent, ratios)
    decisions = _decisions(question, scores, keep, counted.repeated, ratios)
    states = _with_recent(folded, samples, scores, counted.new) if question.update else folded.languages
    stakes = stakes_of(question, counted)
    learnt = learn(question.memory, stakes, folded.languages, rules.half_life, rules.max_pairs)
    return Outcome(decisions, summarise(decisions), states, direction, counted.new, folded.stakes, learnt, known)


def _decisions(
    question: Question,
    scores: Scores,
    keep: np.ndarray,
    repeated: np.ndarray,
    ratios: Sequence[float | None],
) -> list[wire.Decision]:
    columns = zip(
        question.ids,
        question.samples.languages,
        keep.tolist(),
        scores.conflict.tolist(),
        scores.conflicts_with,
        question.truncated,
        scores.reasons,
        repeated.tolist(),
        ratios,
        strict=True,
    )
    return [
        wire.Decision(
            id=name,
            language=tag,
            keep=kept,
            conflict_score=None if score != score else score,  # NaN
            conflicts_with=away,
            truncated=cut,
            reason=reason,
            repeated=again,
            length_ratio=ratio,
        )
        for name, tag, kept, score, away, cut, reason, again, ratio in columns
    ]


def _with_recent(folded: Folded, samples: Samples, scores: Scores, new: np.ndarray) -> dict[str, LanguageState]:
    """The states with the scores of what was folded in behind the earlier ones."""
    tags = np.array(samples.languages)
    scored = ~np.isnan(scores.conflict) & new
    states = dict(folded.languages)
    for tag in set(samples.languages) & states.keys():
        fresh = scores.conflict[(tags == tag) & scored].astype(np.float32)
        recent = np.concatenate([states[tag].recent, fresh])[-RECENT:]
        states[tag] = replace(states[tag], recent=recent)
    return states
