"""A report as it grows: the decisions first, then the texts that they are about."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, BinaryIO

from congrad.contract import wire
from congrad.contract.summary import summarise
from congrad.report.about import About, in_words
from congrad.report.lengths import length_spearman, listed
from congrad.report.page import page
from congrad.report.statistics import conflicts, distributions, most_telling, threshold_of
from congrad.report.texts import Turns, texts_of

PAIRS = 10_000
"""Shown one by one, with their texts. The pictures are of all, however many there are."""


class Report:
    """A page about the decisions on a file.

    :param decisions: in the order of the file.
    :param limit: pairs that are shown one by one.
    """

    def __init__(self, about: About, decisions: Sequence[wire.Decision], limit: int = PAIRS):
        self._about = about
        self._decisions = decisions
        self._texts: dict[int, list[Turns | None] | None] = dict.fromkeys(most_telling(decisions, limit))

    def add(self, position: int, sample: Mapping[str, Any]) -> None:
        """Takes the texts of the pair at a position, if it is one of those that are shown."""
        if position in self._texts:
            self._texts[position] = texts_of(sample)

    def write(self, stream: BinaryIO) -> None:
        """Writes the page."""
        stream.write(page(f"{self._about.source} · CONGRAD report", self._summary(), self._pairs()))

    def _summary(self) -> dict[str, Any]:
        """What is said and drawn of all pairs."""
        decisions, about = self._decisions, self._about
        reasons = Counter(str(decision.reason) for decision in decisions if decision.reason is not None)
        selection = about.selection
        return {
            "source": about.source,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "direction": _reference(about),
            "matrix": _matrix(about.state),
            "summary": summarise(decisions).model_dump(),
            "without_score": dict(sorted(reasons.items())),
            "kept_by_score": sum(decision.keep and decision.conflict_score is not None for decision in decisions),
            "truncated": sum(decision.truncated for decision in decisions),
            "scores": distributions(decisions).model_dump(),
            "conflicts": conflicts(decisions).model_dump(),
            "selection": None if selection is None else in_words(selection),
            "threshold": _threshold(selection, decisions),
            "shown": len(self._texts),
            "with_texts": any(self._texts.values()),
            "command": about.command,
            "settings": [
                ("congrad", f"{version('congrad-filter')}, Python {platform.python_version()}"),
                *about.all_settings,
                *self._lengths(),
            ],
        }

    def _lengths(self) -> list[tuple[str, str]]:
        values = listed(length_spearman(self._decisions))
        return [("Scores follow length (Spearman)", values)] if values else []

    def _pairs(self) -> list[list[Any]]:
        """What is shown one by one: id, language, kept, score, languages, truncated, repeated, reason, texts,
        position."""
        rows = []
        for position, texts in self._texts.items():
            own = self._decisions[position]
            score = None if own.conflict_score is None else round(own.conflict_score, 6)
            reason = None if own.reason is None else str(own.reason)
            marks = [own.truncated, own.repeated]
            rows.append([own.id, own.language, own.keep, score, own.conflicts_with, *marks, reason, texts, position])
        return rows


def _reference(about: About) -> dict[str, Any] | None:
    """The direction that was scored against; where only its present state is known, that."""
    if about.scored_against is not None:
        return about.scored_against.model_dump()
    if about.state is None:
        return None
    counts = {tag: language.samples for tag, language in about.state.languages.items()}
    return about.state.model_dump(include={"name", "version", "checkpoint"}) | {"languages": counts}


def _matrix(state: wire.Direction | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "languages": list(state.languages),
        "before": state.cosines_before,
        "after": state.cosines_after,
        "name": state.name,
        "version": state.version,
        "notes": state.notes,
        "weights": state.weights,
    }


def _threshold(selection: wire.Selection | None, decisions: Sequence[wire.Decision]) -> float | None:
    """The score up to which pairs are kept, where there is one."""
    if isinstance(selection, wire.ThresholdSelection):
        return selection.max_conflict
    return threshold_of(decisions)
