"""Two passes over many pairs through a gradient store, and other questions about them: what Redis and the decide worker
hold meanwhile, and how fast it is.

    make bench-store                   # python benchmarks/gradient_store.py [--pairs 100000] [--store s3://bucket/folder]

Redis, the service and the decide worker are the product's. The gradients workers wait in the place of a GPU
(`benchmarks/waiting_worker`), so that everything beside the gradients is what is measured. The store is a folder of
this machine unless `--store` says otherwise; `--store moto` is an S3 that runs beside the others for the time being.
Prints a table. `--compare` makes both passes a second time with the gradients in Redis, and says whether the decisions
are the same, bit for bit.
"""

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

THREADS = 1
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import redis
import typer
from congrad import Client, Decision, Filtered
from congrad.local.part import Program
from congrad.local.redis_server import configure, free_port
from congrad.local.stack import Stack
from rich.console import Console
from rich.table import Table

from benchmarks.processes import child_pid, resident_mib, tree_cpu_s

ROOT = Path(__file__).parents[1]
TICK_S = 0.05
DIRECTION = "stored"
DECIDE = "congrad_worker\0decide"
LONG_S = str(7 * 86_400)


@dataclass(frozen=True)
class Setup:
    """What is asked of which stack."""

    pairs: int
    dim: int
    languages: int
    batch: int
    workers: int
    concurrency: int
    pair_ms: float


@dataclass
class Seen:
    """What was seen of one stage; ``decide_cpu_s`` is the processor time of the decide worker."""

    name: str
    pairs: int
    seconds: float = 0.0
    decide_cpu_s: float = 0.0
    redis_peak_mib: float = 0.0
    decide_peak_mib: float = 0.0
    redis_traffic_mib: float = 0.0
    decisions: list[Decision] = field(default_factory=list)


class Running:
    """A stack with a store, and what is watched of it."""

    def __init__(self, folder: Path, setup: Setup, settings: Mapping[str, str]):
        self._log = (folder / "log").open("wb")
        pair_ms = folder / "pair_ms"
        pair_ms.write_text(str(setup.pair_ms))
        config, port = configure(folder, free_port()), free_port()
        environment = {
            **os.environ,
            "CONGRAD_REDIS_URL": config.url,
            "CONGRAD_PORT": str(port),
            "CONGRAD_MAX_BODY_BYTES": str(2**28),
            "CONGRAD_MAX_RETAINED_BYTES": str(2**45),
            "CONGRAD_RESULT_TTL": "600",
            "CONGRAD_JOB_TTL": LONG_S,
            "CONGRAD_HALF_LIFE": "inf",
            "WAITING_PAIR_MS_FILE": str(pair_ms),
            "WAITING_DIM": str(setup.dim),
            "WAITING_BY_CONTENT": "1",
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            **settings,
        }
        self._setup = setup
        self._stack = Stack(f"http://127.0.0.1:{port}", environment, self._log)
        self._stack.start(Program("Redis", config.command, environment))
        for name, *module in (("decide worker", "congrad_worker", "decide"), ("service", "congrad_service")):
            self._stack.start(Program(name, [sys.executable, "-m", *module], environment))
        for _ in range(setup.workers):
            self._stack.start(Program("worker", [sys.executable, "-m", "benchmarks.waiting_worker"], environment))
        self._redis = redis.Redis.from_url(config.url)
        self.client = Client(self._stack.url, timeout=3600)

    def __enter__(self) -> "Running":
        while not self._is_whole():
            self._stack.check()
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._redis.close()
        self._stack.stop()
        self._log.close()

    def _is_whole(self) -> bool:
        with suppress(Exception):
            return self.client.is_ready() and [one.workers for one in self.client.checkpoints()] == [
                self._setup.workers
            ]
        return False

    @contextmanager
    def watched(self, name: str) -> Iterator[Seen]:
        """One stage, which the block does."""
        seen, ended = Seen(name, self._setup.pairs), threading.Event()
        pid = child_pid(DECIDE)

        def watch() -> None:
            while not ended.wait(TICK_S):
                seen.redis_peak_mib = max(seen.redis_peak_mib, self._redis.info("memory")["used_memory"] / 2**20)
                seen.decide_peak_mib = max(seen.decide_peak_mib, resident_mib(pid))

        thread = threading.Thread(target=watch)
        before, cpu, start = self._traffic(), tree_cpu_s(DECIDE), time.perf_counter()
        thread.start()
        try:
            yield seen
        finally:
            ended.set()
            thread.join()
        seen.seconds, seen.decide_cpu_s = time.perf_counter() - start, tree_cpu_s(DECIDE) - cpu
        seen.redis_traffic_mib = (self._traffic() - before) / 2**20

    def _traffic(self) -> int:
        stats: dict[str, Any] = self._redis.info("stats")
        return int(stats["total_net_input_bytes"] + stats["total_net_output_bytes"])


def samples(setup: Setup) -> Iterator[dict[str, str]]:
    """Pairs of which no two are the same, in private-use languages (qaa to qtz), as many as are asked for."""
    tags = [f"q{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrstuvwxyz"][: setup.languages]
    for number in range(setup.pairs):
        yield {"language": tags[number % len(tags)], "prompt": f"pair {number}", "chosen": "c" * 200, "rejected": "r"}


def two_passes(running: Running, setup: Setup) -> tuple[list[Seen], list[str]]:
    """Both passes, and the jobs whose gradients are kept after them."""
    options = {"direction": DIRECTION, "batch_size": setup.batch, "concurrency": setup.concurrency}
    with running.watched("first pass") as first:
        answers = list(running.client.filter_batches(samples(setup), retain=True, **options))  # type: ignore[arg-type]
        first.decisions = [decision for answer in answers for decision in answer.decisions]
    jobs = [answer.job_id for answer in answers]
    with running.watched("second pass") as second:
        second.decisions = running.client.rescore(jobs, concurrency=setup.concurrency).decisions
    return [first, second], jobs


def other_questions(running: Running, setup: Setup, jobs: Sequence[str]) -> list[Seen]:
    """What is asked without a gradient."""
    questions: dict[str, dict[str, Any]] = {
        "another aggregator": {"aggregator": "agreement"},
        "half of the languages": {"languages": sorted({one["language"] for one in samples(setup)})[::2]},
        "another half-life": {"half_life": 4096.0},
    }
    found = []
    for name, options in questions.items():
        with running.watched(name) as seen:
            answer: Filtered = running.client.rescore(jobs, concurrency=setup.concurrency, **options)
            seen.decisions = answer.decisions
        found.append(seen)
    return found


def table(seen: Sequence[Seen]) -> Table:
    """What was seen, a row for each stage."""
    shown = Table(
        "stage", "s", "pairs/s", "pairs/s of decide's core", "Redis, peak MiB", "decide, peak MiB", "KiB a pair"
    )
    for one in seen:
        shown.add_row(
            one.name,
            f"{one.seconds:,.1f}",
            f"{one.pairs / one.seconds:,.0f}",
            f"{one.pairs / max(one.decide_cpu_s, 1e-3):,.0f}",
            f"{one.redis_peak_mib:,.0f}",
            f"{one.decide_peak_mib:,.0f}",
            f"{one.redis_traffic_mib * 1024 / one.pairs:,.1f}",
        )
    return shown


def main(
    pairs: Annotated[int, typer.Option(help="Pairs.", min=1)] = 100_000,
    store: Annotated[str, typer.Option(help="A URL, `file` (a folder of this machine), `moto` or `redis`.")] = "file",
    folder: Annotated[Path | None, typer.Option(help="Where a folder is made that is removed at the end.")] = None,
    dim: Annotated[int, typer.Option(help="D.")] = 16_384,
    languages: Annotated[int, typer.Option(help="Languages.", min=2, max=500)] = 10,
    batch: Annotated[int, typer.Option(help="Pairs in one request.")] = 1_024,
    workers: Annotated[int, typer.Option(help="Waiting workers.")] = 2,
    concurrency: Annotated[int, typer.Option(help="Requests under way; 1 where --compare is to be exact.")] = 4,
    pair_ms: Annotated[float, typer.Option(help="Milliseconds that a pair takes.")] = 0.0,
    compare: Annotated[bool, typer.Option("--compare", help="The same with the gradients in Redis.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the figures go, as JSON.")] = None,
) -> None:
    """Measures it."""
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    setup = Setup(pairs, dim, languages, batch, workers, 1 if compare else concurrency, pair_ms)
    console = Console(width=max(Console().width, 140))
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        settings = stack.enter_context(_settings(store, work / "gradients"))
        (work / "stack").mkdir()
        with Running(work / "stack", setup, settings) as running:
            seen, jobs = two_passes(running, setup)
            console.print(table(seen))
            seen += other_questions(running, setup, jobs)
        console.print(f"{pairs:,} pairs of {dim:,} numbers in {languages} languages, {store}")
        console.print(table(seen))
        same = None
        if compare:
            (work / "redis").mkdir()
            with Running(work / "redis", setup, {"CONGRAD_GRADIENT_STORE": "redis"}) as running:
                others, _ = two_passes(running, setup)
            same = all(ours.decisions == theirs.decisions for ours, theirs in zip(seen, others, strict=False))
            console.print(f"decisions of both passes {'are' if same else 'ARE NOT'} those from Redis, bit for bit")
    if output is not None:
        rows = [{name: value for name, value in vars(one).items() if name != "decisions"} for one in seen]
        output.write_text(json.dumps({"setup": vars(setup), "store": store, "same": same, "stages": rows}, indent=1))
    sys.exit(1 if same is False else 0)


@contextmanager
def _settings(store: str, folder: Path) -> Iterator[dict[str, str]]:
    if store != "moto":
        yield {"CONGRAD_GRADIENT_STORE": f"file://{folder}" if store == "file" else store}
        return
    sys.path.insert(0, str(ROOT / "tests"))
    from support.object_store import object_store

    with object_store() as running:
        yield {**running.environment, "CONGRAD_GRADIENT_STORE": running.new_bucket()}


if __name__ == "__main__":
    typer.run(main)
