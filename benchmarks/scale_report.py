"""What a stack was measured to do as it grows, as JSON and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import pages

PARTS = ("service", "workers", "decide", "Redis", "client")
"""Whose processor time is counted; the client is the measuring process."""

TOKENS = 500
"""Of a pair's two sequences together, as the service estimates them, the prompt counted twice."""

GPUS = (1, 10, 100)
PARAMETERS = 8e9
GPU_FLOPS = 0.4 * 989e12
"""An H100's dense bfloat16 peak, and the share of it that is taken to be reached."""

GPU_PAIRS = GPU_FLOPS / (4 * PARAMETERS * TOKENS)
"""Pairs a second and GPU: 4 FLOPs per weight and token, with frozen weights."""

PAPER_BATCH = 1024


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

    def median(self, stage: str) -> float:
        """Seconds of the median request."""
        return median(timing[stage] for timing in self.timings)


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


READING = (
    "pairs/s: all pairs of a setup over the time from the first request to the last answer. Ideal is what the waiting "
    "alone would let through.",
    "where the machine does other work at the same time, as its load average tells, pairs/s are what that leaves; "
    "processor times hardly change.",
    "what ends the growth: the machine's cores; and with small batches or many languages the decide worker, whose "
    "queue is then most of `decided in`. A GPU of the size below takes 40 ms for a pair, not 2.",
    "the workers are Celery's, with the product's queue, store and heartbeat. In the place of a GPU they wait, and "
    "hand out random gradients of D numbers. They do not tokenise, and nobody reads a checkpoint.",
    "clients: two large requests for each worker at a time, and up to 16 small ones. Request: the median time until "
    "its answer; decided in: from the last gradients to the decision, with the wait for the one decide worker.",
    "processor time: what Linux counts for the processes of a part, divided by pairs. Workers: of the host, beside the "
    "GPU: texts read, gradients packed and written. Clients, stack and Redis share the cores.",
    "Redis's traffic: bytes in and out on its sockets. Its append-only file is on, at `everysec`.",
    "a request, a pair: processor milliseconds of a part are fitted as a line through the batches (relative least "
    "squares), with 10 languages and D = 16,384.",
    "on paper: multiplication, not measurement. A GPU is taken to do 4 FLOPs per weight and token of an 8 B model "
    f"at 40 % of an H100's dense bfloat16 peak: {GPU_PAIRS:.0f} pairs of {TOKENS} tokens a second. Requests have "
    f"{PAPER_BATCH:,} pairs; cores are of the machine above. Redis has one core for commands, whatever the machine.",
)


@dataclass(frozen=True)
class ScaleReport:
    """One run."""

    about: dict[str, Any]
    runs: Mapping[str, Sequence[Run]]
    surgery: Mapping[int, float]

    def to_json(self) -> str:
        """Every request."""
        whole = {
            "about": self.about,
            "runs": {name: [asdict(run) for run in runs] for name, runs in self.runs.items()},
            "surgery_s": {str(languages): seconds for languages, seconds in self.surgery.items()},
        }
        return pages.as_json(whole)

    def to_markdown(self) -> str:
        """Tables and what they say."""
        lines = ["# How a stack grows", "", *(f"- {key}: {value}" for key, value in self.about.items())]
        lines += ["", "## Workers", "", "Batches of 256 pairs, 10 languages, D = 16,384.", ""]
        lines += [*_table(WORKERS, self.runs["workers"]), "", self._linear()]
        for name, title in (("batch", "Batches"), ("languages", "Languages"), ("dim", "Length of gradients")):
            lines += ["", f"## {title}", "", "2 ms a pair.", "", *_table(COSTS, self.runs[name])]
        lines += ["", "## Surgery alone", "", *self._surgery()]
        lines += ["", "## A request, a pair", "", *self._costs()]
        lines += ["", "## 1, 10 and 100 GPUs on paper", "", *self._paper()]
        return "\n".join([*lines, "", "## Reading it", "", *(f"- {text}" for text in READING)]) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Writes both files."""
        return pages.write(folder, "scale", self.to_markdown(), self.to_json())

    def _linear(self) -> str:
        """How much of the ideal is left where workers are many."""
        runs = self.runs["workers"]
        most = max(run.setup.workers for run in runs)
        return " ".join(
            f"With {run.setup.pair_ms:g} ms a pair {most} workers reach {run.rate / run.setup.ideal:.0%} of the ideal; "
            f"{sum(run.spent[part] for part in PARTS) / run.seconds:.1f} cores are busy with it."
            for run in runs
            if run.setup.workers == most
        )

    def _surgery(self) -> list[str]:
        rows = [
            [f"{languages}", f"{seconds * 1e3:,.0f}", f"{1 / seconds:.3g}"]
            for languages, seconds in self.surgery.items()
        ]
        text = (
            "Processor time. Surgery is done once a request, whatever its size, and one request of a direction after "
            "the other."
        )
        return [*pages.table(("languages", "ms", "requests/s of a direction at most"), rows), "", text]

    def _costs(self) -> list[str]:
        costs = {part: Cost.of(part, self.runs["batch"]) for part in PARTS}
        rows = [[part, f"{cost.request_ms:.2f}", f"{cost.pair_ms:.3f}"] for part, cost in costs.items()]
        return pages.table(("processor time", "ms a request", "ms a pair"), rows)

    def _paper(self) -> list[str]:
        """What so many GPUs would keep busy."""
        batches = self.runs["batch"]
        costs = {part: Cost.of(part, batches) for part in PARTS if part != "client"}
        (large,) = [run for run in batches if run.setup.batch == PAPER_BATCH]
        rows = []
        for gpus in GPUS:
            rate = gpus * GPU_PAIRS
            cores = [f"{cost.cores(rate, PAPER_BATCH):.2f}" for cost in costs.values()]
            rows.append([f"{gpus}", f"{rate:,.0f}", *cores, f"{rate * large.each('bytes') * 8 / 1e9:.2f}"])
        decided = PAPER_BATCH / Cost.of("decide", batches).cores(PAPER_BATCH, PAPER_BATCH)
        head = ("GPUs", "pairs/s", *(f"cores: {part}" for part in costs), "Redis's traffic, Gbit/s")
        text = (
            f"One decide worker, and so one direction, takes about {decided:,.0f} pairs/s of such requests: decisions "
            "of a direction are made one after the other."
        )
        return [*pages.table(head, rows), "", text]


Column = Callable[[Run], str]


def _cores(part: str) -> Column:
    return lambda run: f"{run.spent[part] / run.seconds:.2f}"


def _pair_ms(part: str) -> Column:
    return lambda run: f"{run.each(part) * 1e3:.2f}"


WORKERS: dict[str, Column] = {
    "workers": lambda run: f"{run.setup.workers}",
    "ms a pair": lambda run: f"{run.setup.pair_ms:g}",
    "ideal pairs/s": lambda run: f"{run.setup.ideal:,.0f}",
    "pairs/s": lambda run: f"{run.rate:,.0f}",
    "of ideal": lambda run: f"{run.rate / run.setup.ideal:.0%}",
    **{f"cores: {part}": _cores(part) for part in PARTS},
}

COSTS: dict[str, Column] = {
    "workers": lambda run: f"{run.setup.workers}",
    "batch": lambda run: f"{run.setup.batch:,}",
    "languages": lambda run: f"{run.setup.languages}",
    "D": lambda run: f"{run.setup.dim:,}",
    "pairs/s": lambda run: f"{run.rate:,.0f}",
    "requests/s": lambda run: f"{len(run.timings) / run.seconds:,.1f}",
    "request, s": lambda run: f"{run.median('request_s'):.2f}",
    "decided in, s": lambda run: f"{run.median('decide_s'):.3f}",
    **{f"{part}, ms a pair": _pair_ms(part) for part in PARTS[:-1]},
    "Redis, KiB a pair": lambda run: f"{run.each('bytes') / 1024:.0f}",
    "commands a pair": lambda run: f"{run.each('commands'):.2f}",
}


def _table(columns: Mapping[str, Column], runs: Sequence[Run]) -> list[str]:
    return pages.table(tuple(columns), [[column(run) for column in columns.values()] for run in runs])
