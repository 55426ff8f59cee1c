"""What a load was measured to do, as JSON and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pages
from benchmarks.turns import Turns

TARGET_MS = 25
"""How much longer than the engine's own time the median request with one pair may take."""


@dataclass(frozen=True)
class Trip:
    """One request with one pair: seconds as its client saw them, those of the engine alone on the same pair, and those
    that the answer tells."""

    request_s: float
    engine_s: float
    queued_s: float
    gradients_s: float
    decide_s: float
    total_s: float


@dataclass(frozen=True)
class Level:
    """Some clients that post as fast as they are answered: requests a second, and the seconds that each took."""

    clients: int
    rate: float
    latencies: list[float]


@dataclass(frozen=True)
class Memory:
    """MiB by part, after so many requests."""

    requests: int
    mib: dict[str, float]


STAGES: dict[str, Callable[[Trip], float]] = {
    "the request": lambda t: t.request_s,
    "the engine alone": lambda t: t.engine_s,
    "the request beyond the engine": lambda t: t.request_s - t.engine_s,
    "– before the task starts: accepted, published, taken, handed to the process": lambda t: t.queued_s,
    "– in the task beyond the engine: chunk read, gradients written": lambda t: t.gradients_s - t.engine_s,
    "– decided: published, taken, direction read, decided": lambda t: t.decide_s,
    "– the rest: HTTP, validation, commit, news of the end, answer": lambda t: t.request_s - t.total_s,
}

READING = (
    "the request: one pair, posted with `Prefer: wait`, one after the other, until the answer has been read. Between "
    "two of them the same pair goes through the encoder and the engine in the client's process, with as many threads.",
    "the stages are those of the answer's `timing`, by Redis's clock. Medians of parts need not add up to the median "
    "of the whole.",
    "processor time: what Linux counts for each process of the stack while these requests are made, whatever else the "
    "machine does; the engine's own time is part of it.",
    "requests/s: clients in threads of one process beside the stack, on the same cores, each posting when it has been "
    "answered. All fold into one direction.",
    "beside a job: requests of one team, one after the other, while the workers compute the chunks of another team's "
    "job. Each may have to wait for one chunk, which is not interrupted.",
    "memory: resident memory of each process, and what Redis says that it uses. Before the first row the "
    "stack has answered the requests of the tables above.",
)


@dataclass(frozen=True)
class LoadReport:
    """One run."""

    about: dict[str, Any]
    trips: Sequence[Trip]
    cpu_s: Mapping[str, float]
    levels: Sequence[Level]
    memory: Sequence[Memory]
    turns: Turns

    def to_json(self) -> str:
        """Every request."""
        whole = {
            "about": self.about,
            "trips": [asdict(trip) for trip in self.trips],
            "cpu_s": dict(self.cpu_s),
            "levels": [asdict(level) for level in self.levels],
            "memory": [asdict(memory) for memory in self.memory],
            "turns": asdict(self.turns),
        }
        return pages.as_json(whole)

    def to_markdown(self) -> str:
        """Tables and what they say."""
        beyond = _percentiles([trip.request_s - trip.engine_s for trip in self.trips])[0]
        met = "met" if beyond <= TARGET_MS else "missed"
        lines = ["# Load", "", *(f"- {key}: {value}" for key, value in self.about.items()), ""]
        lines += ["## A request with one pair", ""]
        lines += [f"Target: at most {TARGET_MS} ms beyond the engine's own time at the median. {met.capitalize()}."]
        lines += ["", *pages.table(("ms", "p50", "p99"), self._stages())]
        lines += ["", *pages.table(("processor time of such a request", "ms"), self._cpu())]
        lines += ["", "## Requests with one pair each, as many as there is time for", ""]
        lines += pages.table(("clients", "requests/s", "p50 ms", "p99 ms"), self._levels())
        lines += ["", "## Beside a job of 4,096 samples, and beside another team", "", *self._waits()]
        lines += ["", "## Memory", "", *pages.table(("requests", *self.memory[0].mib), self._memory())]
        return "\n".join([*lines, "", "## Reading it", "", *(f"- {text}" for text in READING)]) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Writes both files."""
        return pages.write(folder, "load", self.to_markdown(), self.to_json())

    def _stages(self) -> list[list[str]]:
        return [[name, *_ms([stage(trip) for trip in self.trips])] for name, stage in STAGES.items()]

    def _cpu(self) -> list[list[str]]:
        return [
            [name, f"{seconds * 1e3:.1f}"] for name, seconds in {**self.cpu_s, "all": sum(self.cpu_s.values())}.items()
        ]

    def _levels(self) -> list[list[str]]:
        return [[str(level.clients), f"{level.rate:.1f}", *_ms(level.latencies)] for level in self.levels]

    def _waits(self) -> list[str]:
        turns = self.turns
        rows = [["alone", *_ms(turns.alone)], ["beside the job", *_ms(turns.beside)]]
        one, other = turns.shares
        return [
            *pages.table(("a request of one sample", "p50 ms", "p99 ms"), rows),
            "",
            f"A chunk of the job takes {turns.chunk_s * 1e3:,.0f} ms. Of two teams, one with one job of 4,096 samples "
            f"and the other with sixteen of 256, the first got {one:,.0f} samples computed and the second {other:,.0f} "
            f"in the same time: {100 * one / (one + other):.0f} % and {100 * other / (one + other):.0f} %.",
        ]

    def _memory(self) -> list[list[str]]:
        return [[f"{m.requests:,}", *(f"{mib:,.1f} MiB" for mib in m.mib.values())] for m in self.memory]


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return float(p50), float(p99)


def _ms(seconds: Sequence[float]) -> list[str]:
    return [f"{ms:,.1f}" for ms in _percentiles(seconds)]
