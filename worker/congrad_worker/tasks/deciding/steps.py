"""What a decided job does to its direction: the fields of its hash, its history, and who conflicted with whom."""

import json
import math
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import compress
from typing import Any

from congrad.contract import wire
from congrad_service.directions.cosines import DIGITS
from congrad_service.directions.remembered import dumped

from congrad_worker.decisions.decide import Outcome, Rules
from congrad_worker.decisions.direction import Samples
from congrad_worker.decisions.geometry import Geometry, geometry
from congrad_worker.tasks.records import JobRecord
from congrad_worker.tasks.states import DirectionRecord, Step

MAX_COUNTS = 10_000
"""Counts of conflicts that one job adds to: a hundred languages that all conflict. Redis stands still meanwhile."""


def step_of(
    job: JobRecord, samples: Samples, outcome: Outcome, read: DirectionRecord, rules: Rules, now: float
) -> Step | None:
    """What is to be committed; None where the job leaves its direction as it is.

    :param now: seconds, by Redis's clock.
    """
    touched = set(compress(samples.languages, outcome.new))
    if not touched:
        return None
    assert outcome.consensus is not None  # it is of the languages that were touched
    shown = geometry(outcome.consensus)
    entry = wire.HistoryEntry(
        version=read.version + 1,
        at=datetime.fromtimestamp(now, UTC),
        job_id=job.id,
        norm=shown.norm,
        by_language=_by_language(outcome),
    )
    times = {"created": read.created or now, "updated": now}
    fields = _fields(job, read, outcome, shown, rules) | times | _vectors(outcome, touched)
    repeated = [place for place, one in enumerate(outcome.decisions) if one.repeated]
    new = [one for one in outcome.decisions if not one.repeated]
    return Step(fields, outcome.learnt.buckets, outcome.stakes, repeated, entry, conflict_counts(new))


def conflict_counts(decisions: Sequence[wire.Decision]) -> dict[str, int]:
    """Dropped pairs with a score by TAG, and by TAG:OTHER those of them in conflict with another language; where there
    are too many of the latter, the most frequent."""
    dropped = [one for one in decisions if not one.keep and one.conflict_score is not None]
    pairs = Counter(f"{one.language}:{other}" for one in dropped for other in one.conflicts_with)
    return {**Counter(one.language for one in dropped), **dict(pairs.most_common(MAX_COUNTS))}


def _by_language(outcome: Outcome) -> dict[str, wire.LanguageStep]:
    scored = Counter(one.language for one in outcome.decisions if one.conflict_score is not None)
    return {
        tag: wire.LanguageStep(
            kept=counts.kept,
            dropped=counts.dropped,
            repeated=counts.repeated,
            scored=scored[tag],
            mean_conflict=counts.mean_conflict,
            samples=outcome.languages[tag].samples if tag in outcome.languages else 0,
        )
        for tag, counts in outcome.summary.by_language.items()
    }


def _fields(job: JobRecord, read: DirectionRecord, outcome: Outcome, shown: Geometry, rules: Rules) -> dict[str, Any]:
    """What is written of the direction as a whole."""
    consensus = outcome.consensus
    assert consensus is not None
    assert consensus.surgery is not None
    about = {
        tag: {"samples": state.samples, "weight": state.weight, "norm": norm}
        for (tag, state), norm in zip(sorted(outcome.languages.items()), shown.norms.tolist(), strict=True)
    }
    said = {
        "norm": shown.norm,
        "half_life": None if math.isinf(rules.half_life) else rules.half_life,
        "aggregator": {"name": rules.rule.name, "orders": consensus.surgery.orders, "seed": rules.rule.seed},
        "weights": {tag: round(weight, DIGITS) for tag, weight in zip(about, shown.weights.tolist(), strict=True)},
    }
    return {
        "epoch": read.epoch or uuid.uuid4().hex,
        "version": read.version + 1,
        # A job may come to it again, after others: a Redis that has lost its last second has it decided once more.
        "by": f"{job.id}-{uuid.uuid4().hex[:8]}",
        "fingerprint": job.fingerprint,
        "checkpoint": job.checkpoint,
        "languages": json.dumps(about),
        "geometry": json.dumps(said),
        "cosines": shown.cosines.tobytes(),
        "gram": consensus.gram.tobytes(),
        "weights": consensus.weights.tobytes(),
        "tables": dumped(outcome.learnt.tables),
        "forgotten": read.forgotten + outcome.learnt.given_up,
    }


def _vectors(outcome: Outcome, touched: set[str]) -> dict[str, bytes]:
    """Only those of the languages that the job touched."""
    fields = {}
    for tag in sorted(touched):
        fields[f"sum:{tag}"] = outcome.languages[tag].total.tobytes()
        fields[f"recent:{tag}"] = outcome.languages[tag].recent.tobytes()
    return fields
