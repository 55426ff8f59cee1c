"""A pair counts once: what of a request is folded in, and what of the direction each of its samples is already."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from congrad_worker.decisions.direction import Folded, LanguageState, Samples, fold, unfolded
from congrad_worker.decisions.memory import Pairs
from congrad_worker.decisions.question import Earlier, Question


@dataclass(frozen=True)
class Counted:
    """A request in its direction: the states with it, its samples' shares and the stakes of those that were folded in
    (``folded``); which these are (``new``), and which repeat a pair that the direction has, bool ``[n]`` both."""

    folded: Folded
    new: np.ndarray
    repeated: np.ndarray


def count(question: Question, languages: Mapping[str, LanguageState], half_life: float) -> Counted:
    """Folds in what is to be, and finds the share that each sample has in its language then."""
    return _update(question, languages, half_life) if question.update else _look(question, languages, half_life)


def _update(question: Question, languages: Mapping[str, LanguageState], half_life: float) -> Counted:
    samples = question.samples
    if not question.once:
        return Counted(fold(languages, samples, half_life), samples.usable, np.zeros(len(samples.norms), bool))
    # Which are known depends on what is remembered only; how much of them is left, on what comes on top.
    known = question.memory.known(question.pairs, samples.languages)
    first = _first(question.pairs, samples)
    new = samples.usable & ~known.rows & (first == np.arange(len(first)))
    folded = fold(languages, samples, half_life, new)
    left = question.memory.shares(known, samples.languages, folded.languages, half_life)
    shares = np.where(known.rows, left, folded.shares[first])
    return Counted(Folded(folded.languages, shares, folded.stakes), new, samples.usable & ~new)


def _look(question: Question, languages: Mapping[str, LanguageState], half_life: float) -> Counted:
    samples, earlier = question.samples, question.earlier or Earlier({})
    none = np.zeros(len(samples.norms), bool)
    was_repeated = none.copy()
    was_repeated[list(earlier.repeated)] = True
    folded = unfolded(languages, samples, earlier.stakes, half_life, ~was_repeated)
    if not question.once:
        return Counted(folded, none, none)
    known = question.memory.known(question.pairs, samples.languages)
    left = question.memory.shares(known, samples.languages, languages, half_life)
    # What is remembered is what there is by now. An earlier job's stake does for a pair that had to be given up.
    shares = np.where(known.rows, left, folded.shares)
    repeated = known.rows if question.earlier is None else was_repeated
    return Counted(Folded(folded.languages, shares, folded.stakes), none, samples.usable & repeated)


def _first(pairs: Pairs, samples: Samples) -> np.ndarray:
    """For each sample the first usable one with its pair, which may be itself: int64 ``[n]``."""
    seen: dict[tuple[str, bytes], int] = {}
    found = np.arange(len(pairs))
    for row, (pair, tag, usable) in enumerate(zip(pairs, samples.languages, samples.usable.tolist(), strict=True)):
        if usable and pair is not None:
            found[row] = seen.setdefault((tag, pair), row)
    return found


def stakes_of(question: Question, counted: Counted) -> dict[str, dict[bytes, float]]:
    """What the pairs of a request have brought to their languages, by language and hash."""
    found: dict[str, dict[bytes, float]] = {}
    for row in np.flatnonzero(counted.new).tolist():
        pair, tag = question.pairs[row], question.samples.languages[row]
        if pair is not None:
            own = found.setdefault(tag, {})
            own[pair] = own.get(pair, 0.0) + counted.folded.stakes[tag].amount
    return found
