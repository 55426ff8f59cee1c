"""What a stack was measured to do as it grows, as JSON and as Markdown."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.scale_runs import (
    GPU_PAIRS,
    PAPER_BATCH,
    PARTS,
    TOKENS,
    Answer,
    Cost,
    Idle,
    Killed,
    Run,
    Setup,
    asked,
    limits,
)

NAME = "scale"
GPUS = (1, 10, 100, 1_000)

READING = (
    "pairs/s: all pairs of a setup over the time from the first request to the last answer. Ideal is what the waiting "
    "alone would let through.",
    "where the machine does other work at the same time, as its load average tells, pairs/s are what that leaves; "
    "processor times hardly change.",
    "what ends the growth here is the machine's cores; with small batches or many languages also the decide worker, "
    "whose queue is then most of `decided in`.",
    "the workers are Celery's, with the product's queue, store and heartbeat. In the place of a GPU they wait, and "
    "hand out random gradients of D numbers. They do not tokenise, and nobody reads a checkpoint.",
    "many workers are forked from one process and share what they do not write; a real one has its checkpoint beside.",
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
class Measured:
    """``runs`` has the groups `workers`, `batch`, `languages`, `dim` and `store`, or some of them; ``surgery``
    processor seconds by the number of languages. What was not measured is not there."""

    runs: Mapping[str, Sequence[Run]]
    idle: Idle | None
    killed: Killed | None
    surgery: Mapping[int, float]


@dataclass(frozen=True)
class ScaleReport:
    """One run, or several of which each has measured a part.

    :param loads: of the machine, before each part was measured.
    """

    about: dict[str, Any]
    loads: Mapping[str, float]
    found: Measured

    @classmethod
    def read(cls, folder: Path) -> "ScaleReport":
        """The one that is there."""
        data = json.loads((folder / f"{NAME}.json").read_text(encoding="utf-8"))
        runs = {name: [Run(Setup(**run.pop("setup")), **run) for run in group] for name, group in data["runs"].items()}
        idle, killed = data["idle"], data["killed"]
        if killed:
            answers = [Answer(*answer) for answer in killed["answers"]]
            killed = Killed(**{**killed, "setup": Setup(**killed["setup"]), "answers": answers})
        surgery = {int(languages): seconds for languages, seconds in data["surgery_s"].items()}
        return cls(data["about"], data["loads"], Measured(runs, Idle(**idle) if idle else None, killed, surgery))

    def with_(self, about: dict[str, Any], loads: Mapping[str, float], found: Measured) -> "ScaleReport":
        """The same with what was measured anew."""
        old = self.found
        runs = {**old.runs, **found.runs}
        both = Measured(runs, found.idle or old.idle, found.killed or old.killed, found.surgery or old.surgery)
        return ScaleReport(about, {**self.loads, **loads}, both)

    def to_json(self) -> str:
        """Every request."""
        found = self.found
        whole = {
            "about": self.about,
            "loads": self.loads,
            "runs": {name: [asdict(run) for run in runs] for name, runs in found.runs.items()},
            "surgery_s": {str(languages): seconds for languages, seconds in found.surgery.items()},
            "idle": asdict(found.idle) if found.idle else None,
            "killed": asdict(found.killed) if found.killed else None,
        }
        return pages.as_json(whole)

    def to_markdown(self) -> str:
        """Tables and what they say."""
        lines = ["# How a stack grows", "", *(f"- {key}: {value}" for key, value in self.about.items())]
        loads = ", ".join(f"{load:.1f} ({name})" for name, load in self.loads.items())
        lines += [f"- load average of the machine before each part: {loads}"]
        for title, needed, section in self._sections():
            if needed <= self.loads.keys():
                lines += ["", f"## {title}", "", *section()]
        return "\n".join([*lines, "", "## Reading it", "", *(f"- {text}" for text in READING)]) + "\n"

    def _sections(self) -> list[tuple[str, set[str], Callable[[], list[str]]]]:
        """Titles, what has to have been measured, and the lines."""
        runs = self.found.runs
        costs = [
            (title, {name}, lambda name=name: ["2 ms a pair.", "", *_table(COSTS, runs[name])])
            for name, title in (("batch", "Batches"), ("languages", "Languages"), ("dim", "Length of gradients"))
        ]
        return [
            ("Workers", {"workers"}, self._workers),
            ("Workers with nothing to do", {"idle"}, self._idle),
            ("When half of the workers are killed", {"killed"}, self._killed),
            ("With a gradient store", {"store"}, self._store),
            *costs,
            ("Surgery alone", {"surgery"}, self._surgery),
            ("A request, a pair", {"batch"}, self._costs),
            ("1 to 1,000 GPUs on paper", {"batch", "store", "idle"}, self._paper),
            ("The next limits", {"batch", "store", "idle"}, self._limits),
        ]

    def write(self, folder: Path) -> list[Path]:
        """Writes both files."""
        return pages.write(folder, NAME, self.to_markdown(), self.to_json())

    def _workers(self) -> list[str]:
        """Few and many, and how much of the ideal is left where they are many."""
        runs = self.found.runs["workers"]
        most = max(run.setup.workers for run in runs)
        text = " ".join(
            f"With {run.setup.pair_ms:g} ms a pair {most} workers reach {run.rate / run.setup.ideal:.0%} of the ideal; "
            f"{sum(run.spent[part] for part in PARTS) / run.seconds:.1f} cores are busy with it."
            for run in runs
            if run.setup.workers == most
        )
        setup = runs[0].setup
        head = f"Requests of {setup.batch} pairs, two for each worker; {setup.languages} languages, D = {setup.dim:,}."
        return [head, "", *_table(WORKERS, runs), "", text]

    def _idle(self) -> list[str]:
        """What a worker costs that waits for work."""
        idle = self.found.idle
        assert idle is not None
        cores = {part: idle.each(part) * 1e3 for part in ("workers", "Redis", "service")}
        text = (
            f"Of {idle.workers} each keeps {cores['workers']:.1f} ‰ of a core busy in its own "
            f"process, {cores['Redis']:.2f} ‰ in Redis and {cores['service']:.2f} ‰ in the service, with "
            f"{idle.each('commands'):.1f} commands and {idle.each('bytes') / 1024:.1f} KiB a second; it takes "
            f"{idle.worker_mib:.0f} MiB, and took {idle.start_cpu_s:.1f} s of a core to start."
        )
        return [text]

    def _killed(self) -> list[str]:
        """Before and after, and what became of that which was under way."""
        killed = self.found.killed
        assert killed is not None
        left = killed.setup.workers - killed.killed
        head = ("", "workers", "ideal pairs/s", "pairs/s", "of ideal")
        rows = [
            [name, f"{workers}", f"{ideal:,.0f}", f"{rate:,.0f}", f"{rate / ideal:.0%}"]
            for name, workers, ideal, rate in (
                ("before", killed.setup.workers, killed.setup.ideal, killed.before),
                ("from then to the last answer", left, killed.ideal_after, killed.after),
            )
        ]
        text = (
            f"{killed.setup.pair_ms:g} ms a pair, a chunk of {killed.setup.batch} pairs a request. All "
            f"{len(killed.answers):,} requests had their answer. {len(killed.caught)} were under way when "
            f"{killed.killed} workers were killed (SIGKILL, none was started in their place); the last had its answer "
            f"{killed.caught_s:.1f} s later, where a request took {killed.usual_s:.1f} s before. {killed.sent_again} "
            f"pieces of work were sent again, the last {killed.sent_again_s:.1f} s after the kill."
        )
        return [*pages.table(head, rows), "", text]

    def _store(self) -> list[str]:
        """What the store takes off Redis."""
        once, redis, file = (run.each("bytes") / 1024 for run in self.found.runs["store"])
        text = (
            f"Both passes together pass {file:.0f} KiB a pair through Redis with a store at `file://`, where they pass "
            f"{redis:.0f} without, and one pass alone {once:.0f}: {file / redis:.0%} and {file / once:.0%} of it. What "
            f"is left are texts, messages, and the direction, which each request reads and writes."
        )
        return [*_table(STORES, self.found.runs["store"]), "", text]

    def _surgery(self) -> list[str]:
        rows = [
            [f"{languages}", f"{seconds * 1e3:,.3g}", f"{1 / seconds:.3g}"]
            for languages, seconds in self.found.surgery.items()
        ]
        text = (
            "Processor time. Surgery is done once a request, whatever its size, and one request of a direction after "
            "the other."
        )
        return [*pages.table(("languages", "ms", "requests/s of a direction at most"), rows), "", text]

    def _costs(self) -> list[str]:
        costs = {part: Cost.of(part, self.found.runs["batch"]) for part in PARTS}
        rows = [[part, f"{cost.request_ms:.2f}", f"{cost.pair_ms:.3f}"] for part, cost in costs.items()]
        return pages.table(("processor time", "ms a request", "ms a pair"), rows)

    def _paper(self) -> list[str]:
        """What so many GPUs would keep busy."""
        batches, (_, redis, file) = self.found.runs["batch"], self.found.runs["store"]
        idle = self.found.idle
        assert idle is not None
        costs = {part: Cost.of(part, batches) for part in PARTS if part != "client"}
        (large,) = [run for run in batches if run.setup.batch == PAPER_BATCH]
        rows = []
        for gpus in GPUS:
            rate = gpus * GPU_PAIRS
            cores = [f"{cost.cores(rate, PAPER_BATCH) + gpus * idle.each(part):.2f}" for part, cost in costs.items()]
            traffic = [f"{rate * run.each('bytes') * 8 / 1e9:.2f}" for run in (large, redis, file)]
            rows.append([f"{gpus:,}", f"{rate:,.0f}", *cores, *traffic])
        ways = (asked(run.setup) for run in (large, redis, file))
        head = ("GPUs", "pairs/s", *(f"cores: {part}" for part in costs), *(f"Gbit/s: {way}" for way in ways))
        return pages.table(head, rows)

    def _limits(self) -> list[str]:
        """What comes first, and what then."""
        assert self.found.idle is not None
        found = limits(self.found.runs["batch"], self.found.runs["store"], self.found.idle)
        rows = [[limit.what, f"{limit.gpus:,.0f}", f"{limit.rate:,.0f}"] for limit in found]
        text = (
            f"Next comes: {found[0].what}, at {found[0].gpus:,.0f} GPUs. Decisions of one direction are made one after "
            "the other, by whichever decide worker; those of another one beside them, by another. More than a Redis "
            "carries takes a second one, with a stack of its own."
        )
        return [*pages.table(("what ends the growth", "GPUs", "pairs/s"), rows), "", text]


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
    "request, s": lambda run: f"{run.median('request_s'):.1f}",
    **{f"cores: {part}": _cores(part) for part in PARTS},
    "decide's share": lambda run: f"{run.share('decide'):.0%}",
    "Redis, KiB a pair": lambda run: f"{run.each('bytes') / 1024:.0f}",
}

STORES: dict[str, Column] = {
    "": lambda run: asked(run.setup),
    "pairs/s": lambda run: f"{run.rate:,.0f}",
    **{f"{part}, ms a pair": _pair_ms(part) for part in PARTS[:-1]},
    "decide's share": lambda run: f"{run.share('decide'):.0%}",
    "Redis, KiB a pair": lambda run: f"{run.each('bytes') / 1024:.1f}",
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
