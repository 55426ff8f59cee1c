"""Conflict scores as a worker gives them: its engine and its decide, in this process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from congrad.contract import wire
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.aggregation.surgery import Aggregator, mean, pcgrad
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Outcome, Rules, decide
from congrad_worker.decisions.direction import LanguageState, Samples
from congrad_worker.decisions.question import Question
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import DecideSettings, GradientSettings

THRESHOLD = wire.ThresholdSelection()


def encode(folder: Path, samples: Sequence[wire.Sample]) -> list[EncodedPair]:
    """By the worker's encoder, with a checkpoint's tokenizer."""
    settings = GradientSettings(model=str(folder), device="cpu")
    checkpoint = load(locate(settings), settings)
    encoder = Encoder(checkpoint.tokenizer, checkpoint.max_length)
    return [encoder.encode(sample) for sample in samples]


def gradients(folder: Path, samples: Sequence[wire.Sample], **options: object) -> Samples:
    """Compressed gradients with a worker's default settings, or with some of them changed; but as long as they are, so
    that both the paper's mean and `unit_gradients` can be had of them."""
    given = {"model": str(folder), "device": "cpu", "unit_gradients": False, **options}
    settings = GradientSettings.model_validate(given)
    engine = verified_engine(load(locate(settings), settings), settings)
    encoder = Encoder(engine.checkpoint.tokenizer, engine.checkpoint.max_length)
    pairs = [encoder.encode(sample) for sample in samples]
    return Samples.of(engine.compute(pairs).values, [sample.language for sample in samples])


def rules(aggregator: Aggregator = pcgrad, half_life: float | None = None) -> Rules:
    """A decide worker's defaults, or with one of them changed."""
    settings = DecideSettings()
    return Rules(Rule("", settings.seed, aggregator), settings.half_life if half_life is None else half_life)


def ask(
    samples: Samples,
    how: Rules,
    selection: wire.ThresholdSelection | wire.FractionSelection = THRESHOLD,
    languages: dict[str, LanguageState] | None = None,
    update: bool = True,
) -> Outcome:
    """All samples as one request, to a direction that it begins where no ``languages`` are given."""
    ids = [str(i) for i in range(len(samples.norms))]
    return decide(
        Question(ids, samples, [False] * len(ids), selection, update, [None] * len(ids)), languages or {}, how
    )


def conflict(outcome: Outcome) -> np.ndarray:
    """Conflict scores, float64 ``[n]``.

    :raises ValueError: a pair has none.
    """
    scores = [decision.conflict_score for decision in outcome.decisions]
    if None in scores:
        raise ValueError(f"{scores.count(None)} of {len(scores)} pairs have no score")
    return np.array(scores, dtype=np.float64)


def kept(outcome: Outcome) -> np.ndarray:
    """Which pairs the selection keeps: bool ``[n]``."""
    return np.array([decision.keep for decision in outcome.decisions])


def part(samples: Samples, rows: np.ndarray) -> Samples:
    """Some of the samples."""
    return Samples(samples.units[rows], samples.norms[rows], [samples.languages[i] for i in rows])


def unit_gradients(samples: Samples) -> Samples:
    """As a worker with CONGRAD_UNIT_GRADIENTS gives them."""
    return Samples(samples.units, np.where(samples.usable, 1, samples.norms).astype(np.float32), samples.languages)


def own_language_conflict(samples: Samples) -> np.ndarray:
    """Minus the cosine with the mean of the pair's own language, its own share taken out: float64 ``[n]``."""
    scores = np.empty(len(samples.norms))
    tags = np.array(samples.languages)
    for tag in set(samples.languages):
        rows = np.flatnonzero(tags == tag)
        scores[rows] = conflict(ask(part(samples, rows), rules(mean)))
    return scores
