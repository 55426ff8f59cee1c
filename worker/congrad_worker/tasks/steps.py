"""What a decided job does to its direction: the fields of its hash, its history, and who conflicted with whom."""

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Any

from congrad.contract import wire

from congrad_worker.decisions.decide import Outcome
from congrad_worker.decisions.direction import Samples
from congrad_worker.tasks.records import DirectionRecord, JobRecord, Step

MAX_COUNTS = 10_000
"""Counts of conflicts that one job adds to: a hundred languages that all conflict. Redis stands still meanwhile."""


def step_of(job: JobRecord, samples: Samples, outcome: Outcome, read: DirectionRecord, now: float) -> Step | None:
    """What is to be committed; None where the job leaves its direction as it is.

    :param now: seconds, by Redis's clock.
    """
    touched = set(compress(samples.languages, samples.usable)) if job.update else set()
    if not touched:
        return None
    entry = wire.HistoryEntry(
        version=read.version + 1,
        at=datetime.fromtimestamp(now, UTC),
        job_id=job.id,
        norm=outcome.geometry["norm"],
        by_language=_by_language(outcome),
    )
    return Step(_fields(job, read, outcome, touched, now), outcome.stakes, entry, conflict_counts(outcome.decisions))


def conflict_counts(decisions: Sequence[wire.Decision]) -> dict[str, int]:
    """Dropped pairs with a score by TAG, and by TAG:OTHER those of them in conflict with another language; where there
    are too many of the latter, the most frequent."""
    dropped = [one for one in decisions if not one.keep and one.conflict_score is not None]
    pairs = Counter(f"{one.language}:{other}" for one in dropped for other in one.conflicts_with)
    return {**Counter(one.language for one in dropped), **dict(pairs.most_common(MAX_COUNTS))}


def _by_language(outcome: Outcome) -> dict[str, wire.LanguageStep]:
    return {
        tag: wire.LanguageStep(
            kept=counts.kept,
            dropped=counts.dropped,
            mean_conflict=counts.mean_conflict,
            samples=outcome.languages[tag].samples if tag in outcome.languages else 0,
        )
        for tag, counts in outcome.summary.by_language.items()
    }


def _fields(job: JobRecord, read: DirectionRecord, outcome: Outcome, touched: set[str], now: float) -> dict[str, Any]:
    """The fields that a commit writes: only the vectors of the languages that the job touched."""
    geometry = dict(outcome.geometry)
    norms = geometry.pop("norms")
    about = {
        tag: {"samples": state.samples, "weight": state.weight, "norm": norms[tag]}
        for tag, state in sorted(outcome.languages.items())
    }
    fields: dict[str, Any] = {
        "epoch": read.epoch or uuid.uuid4().hex,
        "version": read.version + 1,
        "fingerprint": job.fingerprint,
        "checkpoint": job.checkpoint,
        "created": read.created or now,
        "updated": now,
        "languages": json.dumps(about),
        "geometry": json.dumps(geometry),
    }
    for tag in sorted(touched):
        fields[f"sum:{tag}"] = outcome.languages[tag].total.tobytes()
        fields[f"recent:{tag}"] = outcome.languages[tag].recent.tobytes()
    return fields
