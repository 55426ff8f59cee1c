"""Scoring a batch with the project's own functions, and by the book."""

from itertools import permutations

import numpy as np
from congrad.contract import wire
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.aggregation.aggregators import aggregator
from congrad_worker.decisions.aggregation.surgery import pcgrad
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Outcome, Rules, decide
from congrad_worker.decisions.direction import LanguageState, Samples
from congrad_worker.decisions.question import Question
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.settings import DecideSettings

BATCH = 32

RULES = Rules(Rule("pcgrad", 0, pcgrad), half_life=float("inf"))


def outcome(
    samples: Samples,
    languages: dict[str, LanguageState] | None = None,
    update: bool = True,
    rules: Rules = RULES,
    selection: wire.ThresholdSelection | wire.FractionSelection | None = None,
) -> Outcome:
    """Decides a batch against the states of some languages."""
    count = len(samples.norms)
    question = Question(
        ids=[str(i) for i in range(count)],
        samples=samples,
        truncated=[False] * count,
        selection=selection or wire.ThresholdSelection(),
        update=update,
        pairs=[None] * count,
    )
    return decide(question, languages or {}, rules)


def scores_of(result: Outcome) -> np.ndarray:
    """Conflict scores as float64 ``[n]``, NaN where there is none."""
    return np.array([np.nan if d.conflict_score is None else d.conflict_score for d in result.decisions])


def default_rules() -> Rules:
    """Those of a decide worker that was told nothing."""
    settings = DecideSettings()
    return Rules(Rule(settings.aggregator, settings.seed, aggregator(settings.aggregator)), settings.half_life)


def conflict_scores(
    engine: GradientEngine, pairs: list[EncodedPair], languages: list[str], rules: Rules = RULES
) -> np.ndarray:
    """Scores of one batch of pairs that begins a direction; gradients pass through half precision as they do in
    Redis, in pieces, so that exact ones fit in memory."""
    parts = [
        Samples.of(engine.compute(pairs[i : i + BATCH]).values, languages[i : i + BATCH])
        for i in range(0, len(pairs), BATCH)
    ]
    samples = Samples(
        np.concatenate([part.units for part in parts]), np.concatenate([part.norms for part in parts]), languages
    )
    return scores_of(outcome(samples, rules=rules))


def reference_scores(gradients: np.ndarray, languages: list[str]) -> np.ndarray:
    """The method of the design, in plain NumPy on whole vectors: language means, PCGrad vector by vector over every
    order, the own share taken out, the cosine.

    :param gradients: ``[n, parameters]``.
    """
    gradients = gradients.astype(np.float64)
    tags = sorted(set(languages))
    means = [np.mean([g for g, tag in zip(gradients, languages, strict=True) if tag == t], axis=0) for t in tags]
    direction, weights = explicit_pcgrad(np.stack(means))
    scores = []
    for gradient, tag in zip(gradients, languages, strict=True):
        share = weights[tags.index(tag)] / languages.count(tag)
        rest = direction - share * gradient
        scores.append(-gradient @ rest / np.linalg.norm(gradient) / np.linalg.norm(rest))
    return np.array(scores)


def explicit_pcgrad(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """PCGrad on the vectors themselves, averaged over languages and all orders, and its weights on the means."""
    count = len(means)
    directions, weights = [], []
    for order in permutations(range(count)):
        for i in range(count):
            vector, coefficients = means[i].copy(), np.eye(count)[i]
            for j in order:
                if j != i and vector @ means[j] < 0:
                    scale = vector @ means[j] / (means[j] @ means[j])
                    vector -= scale * means[j]
                    coefficients[j] -= scale
            directions.append(vector)
            weights.append(coefficients)
    return np.mean(directions, axis=0), np.mean(weights, axis=0)
