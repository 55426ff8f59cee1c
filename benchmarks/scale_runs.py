"""What a stack is asked as it grows, what was measured, and what that is for more of it. Without a stack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np

PARTS = ("service", "workers", "decide", "Redis", "client")
"""Whose processor time is counted; the client is the measuring process."""

TOKENS = 500
"""Of a pair's two sequences together, as the service estimates them, the prompt counted twice."""

PARAMETERS = 8e9
GPU_FLOPS = 0.4 * 989e12
"""An H100's dense bfloat16 peak, and the share of it that is taken to be reached."""

GPU_PAIRS = GPU_FLOPS / (4 * PARAMETERS * TOKENS)
"""Pairs a second and GPU: 4 FLOPs per weight and token, with frozen weights."""

PAPER_BATCH = 1024

NETWORK_BITS = 10e9
"""Of the network card of the host that has Redis, a second."""


@dataclass(frozen=True)
class Setup:
    """What is asked: how many workers, each taking so long for a pair; requests of so many pairs in so many languages;
    gradients of so many numbers."""

    workers: int
    pair_ms: float
    languages: int
    batch: int
    dim: int
    asking: int = 0  # clients; 0 for enough of them
    each: int = 0  # requests of each client; 0 for as many as it gets through in the time that there is
    passes: int = 1  # with 2, gradients are retained, and each request is scored again once it has its answer
    store: str = "redis"  # where they are retained: or `file`, a folder

    def but(self, **changes: Any) -> "Setup":
        """The same with some of it changed."""
        return replace(self, **changes)

    @property
    def clients(self) -> int:
        """Enough that workers do not wait for requests: two large requests for each, and more of small ones."""
        return self.asking or self.workers * max(2, min(16, 256 // self.batch))

    @property
    def ideal(self) -> float:
        """Pairs a second if nothing but the waiting took time."""
        return self.workers * 1e3 / self.pair_ms


@dataclass(frozen=True)
class Run:
    """One setup: seconds, what each answer tells of its time, and what was spent on all of them together (processor
    seconds by part, bytes and commands of Redis)."""

    setup: Setup
    seconds: float
    timings: Sequence[Mapping[str, float]]
    spent: Mapping[str, float]

    @property
    def pairs(self) -> int:
        """That were decided."""
        return len(self.timings) * self.setup.batch

    @property
    def rate(self) -> float:
        """Pairs a second."""
        return self.pairs / self.seconds

    def each(self, what: str) -> float:
        """What a pair took of something."""
        return self.spent[what] / self.pairs

    def share(self, part: str) -> float:
        """Of the processor time of the stack."""
        return self.spent[part] / sum(self.spent[one] for one in PARTS if one != "client")

    def median(self, stage: str) -> float:
        """Seconds of the median request."""
        return median(timing[stage] for timing in self.timings)


@dataclass(frozen=True)
class Idle:
    """Workers with nothing to do: what they and the others spent in so many seconds, what a worker takes of memory, and
    what it took to start (processor seconds)."""

    workers: int
    seconds: float
    spent: Mapping[str, float]
    worker_mib: float
    start_cpu_s: float

    def each(self, what: str) -> float:
        """For a worker, a second."""
        return self.spent[what] / self.seconds / self.workers


class Answer(NamedTuple):
    """When a request was made and when it had its answer, in seconds from the first request."""

    begun: float
    ended: float


@dataclass(frozen=True)
class Killed:
    """What came of requests when some of the workers were killed at a time (seconds from the first request), and when
    the last of the chunks that these were at had been sent again."""

    setup: Setup
    killed: int
    at: float
    answers: Sequence[Answer]
    sent_again: int
    sent_again_s: float

    @property
    def before(self) -> float:
        """Pairs a second until then."""
        return sum(answer.ended <= self.at for answer in self.answers) * self.setup.batch / self.at

    @property
    def after(self) -> float:
        """Pairs a second from then to the last answer."""
        last = max(answer.ended for answer in self.answers)
        return sum(answer.ended > self.at for answer in self.answers) * self.setup.batch / (last - self.at)

    @property
    def ideal_after(self) -> float:
        """Of those who are left."""
        return self.setup.but(workers=self.setup.workers - self.killed).ideal

    @property
    def caught(self) -> list[Answer]:
        """What was under way."""
        return [answer for answer in self.answers if answer.begun < self.at < answer.ended]

    @property
    def usual_s(self) -> float:
        """Seconds of the median request before; not a number where there was none."""
        return median([answer.ended - answer.begun for answer in self.answers if answer.ended <= self.at] or [np.nan])

    @property
    def caught_s(self) -> float:
        """Seconds from then to the last answer of what was under way."""
        return max(answer.ended for answer in self.caught) - self.at


@dataclass(frozen=True)
class Cost:
    """Processor milliseconds of one part, for a request and for each of its pairs: the line through the batches."""

    request_ms: float
    pair_ms: float

    @classmethod
    def of(cls, part: str, runs: Sequence[Run]) -> "Cost":
        """Least squares on what the runs' requests took, relative to each."""
        sizes = np.array([run.setup.batch for run in runs])
        taken = np.array([run.spent[part] / len(run.timings) * 1e3 for run in runs])
        design = np.stack([1 / taken, sizes / taken], axis=1)
        (request, pair), *_ = np.linalg.lstsq(design, np.ones(len(runs)), rcond=None)
        return cls(max(float(request), 0.0), float(pair))

    def cores(self, rate: float, batch: int) -> float:
        """Busy at so many pairs a second, in requests of so many."""
        return rate * (self.request_ms / batch + self.pair_ms) / 1e3


@dataclass(frozen=True)
class Limit:
    """What ends the growth, at so many GPUs."""

    what: str
    gpus: float

    @property
    def rate(self) -> float:
        """Pairs a second there."""
        return self.gpus * GPU_PAIRS


def limits(batches: Sequence[Run], stores: Sequence[Run], idle: Idle) -> list[Limit]:
    """The nearest first. One core for the decisions of a direction, one for Redis's commands, one network card.

    :param stores: one pass, and two with the gradients in each store.
    """
    decide, commands = (Cost.of(part, batches).cores(GPU_PAIRS, PAPER_BATCH) for part in ("decide", "Redis"))
    found = [
        Limit("decisions of one direction: a core", 1 / decide),
        Limit("Redis's commands: a core, with what idle workers ask", 1 / (commands + idle.each("Redis"))),
    ]
    for run in stores:
        bits = GPU_PAIRS * run.each("bytes") * 8
        found.append(Limit(f"Redis's network: 10 Gbit/s, {asked(run.setup)}", NETWORK_BITS / bits))
    return sorted(found, key=lambda limit: limit.gpus)


def asked(setup: Setup) -> str:
    """How many passes, and where gradients are kept between them."""
    if setup.passes == 1:
        return "one pass"
    return f"two passes, {'in Redis' if setup.store == 'redis' else 'with a store'}"
