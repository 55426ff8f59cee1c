"""The states of jobs."""

from datetime import datetime
from enum import StrEnum

from congrad.contract.answer import Answer
from congrad.contract.answers.decisions import FilterResult, Timing
from congrad.contract.answers.problem import Problem


class JobStatus(StrEnum):
    """The states of a job; the last three are final."""

    QUEUED = "queued"
    """Accepted; no worker has started on it."""
    RUNNING = "running"
    """At least one chunk has been taken up by a worker."""
    SUCCEEDED = "succeeded"
    """Decided; if it updates, it has been folded into the direction, once."""
    FAILED = "failed"
    """Given up; it has not been folded in and never will be."""
    CANCELLED = "cancelled"
    """Cancelled by a client; it has not been folded in and never will be."""

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class Progress(Answer):
    """Chunks of a job whose gradients are done."""

    done: int
    total: int


class Job(Answer):
    """A job's state. ``result`` is there once it succeeded, ``error`` once it failed; where its gradients are
    ``retained`` then, it can be scored again."""

    id: str
    status: JobStatus
    direction: str
    samples: int
    created: datetime
    progress: Progress
    result: FilterResult | None = None
    error: Problem | None = None
    retained: bool = False


class JobSummary(Answer):
    """A row of ``GET /jobs``: a job without its decisions.

    ``ended`` is null until it has; ``kept``, ``dropped`` and ``timing`` are there once it succeeded, ``error`` once it
    failed, and then ``starts`` says how often a piece of its work was started, the most of any. One that was given up
    for no fault of its request's ``can_be_retried`` for as long as its samples are kept; ``retried`` is the job that it
    was tried again as. ``retained`` is as in `Job`.
    """

    id: str
    status: JobStatus
    direction: str
    checkpoint: str
    samples: int
    created: datetime
    ended: datetime | None = None
    progress: Progress
    kept: int | None = None
    dropped: int | None = None
    timing: Timing | None = None
    error: Problem | None = None
    starts: int | None = None
    can_be_retried: bool = False
    retried: str | None = None
    retained: bool = False
