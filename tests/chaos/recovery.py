"""How long what a fault has hit took to end all the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from chaos.faults import Fault, Kind
from chaos.load import Sent
from chaos.parts import Part, Role

REDIS = (Kind.KILL_REDIS, Kind.READONLY, Kind.MISCONF, Kind.OOM)
"""The faults that hit everybody."""

RECOVERY_S = 10.0
"""Within how many seconds of another worker being there a task that its worker died with has to end."""


@dataclass(frozen=True)
class Life:
    """From when to when a job was under way, in seconds since 1970 by the clock of Redis's host, which is this one."""

    job_id: str
    created: float
    ended: float


@dataclass(frozen=True)
class Recovery:
    """Of one fault: ``seconds`` until the last of the jobs that the killed worker held had ended, or, where there was
    none, until any next job had. ``able`` are those of them in which there was a part of every role to work with.
    """

    fault: Fault
    seconds: float
    able: float
    allowed: float

    @property
    def is_late(self) -> bool:
        """Whether a job that was held came back too late."""
        return bool(self.fault.held) and self.able > self.allowed


def lives(sent: Iterable[Sent]) -> list[Life]:
    """Those of all jobs that have succeeded."""
    found = []
    for one in sent:
        if one.job is not None and one.job["result"] is not None:
            created = datetime.fromisoformat(one.job["created"]).timestamp()
            found.append(Life(one.job["id"], created, created + one.job["result"]["timing"]["total_s"]))
    return found


def recoveries(faults: Sequence[Fault], jobs: Sequence[Life], parts: Sequence[Part]) -> list[Recovery]:
    """One for each fault after which a job has ended."""
    ends = {job.job_id: job.ended for job in jobs}
    able = _intersection([_union([part for part in parts if part.role is role]) for role in Role])
    found = []
    for fault in faults:
        held = [ends[job] for job in fault.held if ends.get(job, 0.0) > fault.at]
        later = [job.ended for job in jobs if job.ended > fault.at]
        if held or later:
            end = max(held) if held else min(later)
            again = sum(_hits_again(other, fault, end) for other in faults)
            found.append(Recovery(fault, end - fault.at, _overlap(able, fault.at, end), RECOVERY_S * (1 + again)))
    return found


def _hits_again(other: Fault, fault: Fault, end: float) -> bool:
    """Whether what one fault has hit was hit by another before it had ended."""
    return fault.at < other.at < end and (other.kind in REDIS or bool(other.held & fault.held))


Spans = list[tuple[float, float]]


def _union(parts: Iterable[Part]) -> Spans:
    """When at least one of some parts did its work."""
    merged: Spans = []
    for start, end in sorted(span for part in parts for span in _spans(part)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _spans(part: Part) -> Spans:
    return [*part.spans, *([(part.ready, float("inf"))] if part.ready is not None else [])]


def _intersection(of: Sequence[Spans]) -> Spans:
    common = of[0]
    for spans in of[1:]:
        common = [(max(a, c), min(b, d)) for a, b in common for c, d in spans if max(a, c) < min(b, d)]
    return common


def _overlap(spans: Spans, start: float, end: float) -> float:
    return sum(max(0.0, min(b, end) - max(a, start)) for a, b in spans)
