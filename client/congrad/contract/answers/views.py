"""What a page or a monitor draws: how a direction came about, what its pairs scored, workers and the queue."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from congrad.contract.answer import Answer
from congrad.contract.publishing import SleepLevel


class LanguageScores(Answer):
    """The latest conflict scores of one language: how many, their mean (null without any), and how many in each bin."""

    count: int
    mean: float | None
    histogram: list[int]


class DirectionScores(Answer):
    """How the latest conflict scores that a direction keeps are distributed, by language.

    The edges of the bins are -1, -1 + ``width``, ..., 1. A bin has its upper edge and not its lower one (the first
    has both), so that the sum of all bins up to an edge is what a threshold at that edge keeps.
    """

    width: float
    languages: dict[str, LanguageScores]


class LanguageStep(Answer):
    """One language in one step of a direction: pairs kept and dropped in the job, how many of them the direction had
    already, how many have a conflict score (null in what an earlier worker wrote), the mean of these scores (null where
    there is none), and the samples of the language that the direction has had since it began."""

    kept: int
    dropped: int
    repeated: int = 0
    scored: int | None = None
    mean_conflict: float | None
    samples: int


class HistoryEntry(Answer):
    """One version of a direction: the job that made it, when it was committed, the norm of the direction after it, and
    the languages of that job (no others)."""

    version: int
    at: datetime
    job_id: str
    norm: float
    by_language: dict[str, LanguageStep]


class LanguageConflicts(Answer):
    """Dropped pairs with a score of one language, and with how many of them each other language conflicts."""

    dropped: int
    conflicts_with: dict[str, int]


class DirectionConflicts(Answer):
    """Whom the pairs conflicted with that were folded into a direction since it began, and not kept."""

    languages: dict[str, LanguageConflicts]


class Memory(Answer):
    """Of a GPU: what the worker's tensors take up, and what the device has. Of a CPU: what the worker's process takes
    up (resident), and what the machine has."""

    allocated_bytes: int
    total_bytes: int


class Worker(Answer):
    """A live worker.

    ``tasks`` counts what it has done since it started; ``tokens_per_s`` is over the last minute in which it was busy,
    and null where it has computed nothing yet, or computes no gradients. ``asleep`` says where the weights of a worker
    are that sleeps until there is work, and ``order`` which it was told last to sleep or to wake.
    """

    id: str
    role: Literal["gradients", "decide"]
    checkpoint: str | None
    fingerprint: str | None
    device: str
    busy: bool
    memory: Memory | None
    tokens_per_s: float | None
    tasks: int
    started: datetime
    seen: datetime
    asleep: SleepLevel | None = None
    order: int = 0


class CheckpointQueue(Answer):
    """Tasks that wait for a worker of one checkpoint, whether or not there is one; and its ``work``, chunks that wait
    or are being computed (an earlier service does not say it)."""

    checkpoint: str
    fingerprint: str
    tasks: int
    work: int = 0


class Room(Answer):
    """Room for gradients that jobs retain: bytes of those of the caller's team, how many they may be, and what is left
    of Redis's own memory beside what unfinished jobs will need (null where that has no bound that is told). ``store``
    is where they are kept: ``redis``, or a gradient store such as ``file`` or ``s3``, of whose own room nothing is
    known; and ``bits`` those of each number there."""

    retained_bytes: int
    limit_bytes: int
    free_bytes: int | None
    store: str = "redis"
    bits: int = 16


class Queue(Answer):
    """What waits, of all teams: unfinished jobs, how many are taken, the age of the oldest in seconds, and the tasks
    that no worker has taken up yet. ``room`` is there for gradients that are retained; an earlier service does not say
    it."""

    active: int
    limit: int
    oldest_s: Annotated[float | None, Field(ge=0)]
    checkpoints: list[CheckpointQueue]
    decide: int
    room: Room | None = None
