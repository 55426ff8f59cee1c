"""What a request costs beside its gradients, how many of them a stack takes, and whether its memory stays where it is.

    make bench-load                    # python benchmarks/load.py [--model DIR] [--requests 10000]

One stack on this machine, requests with one pair each. Prints tables and writes them to docs/benchmarks.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

THREADS = len(os.sched_getaffinity(0))
# As `congrad up` sets them for its worker; torch reads them when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import redis
import torch
import typer
from congrad import Sample
from congrad.files.samples import read_samples
from congrad.local.stack import Stack, StackOptions, running_stack
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import locate
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.load_report import Level, LoadReport, Memory, Trip
from benchmarks.processes import cpu_s, part_pids, resident_mib
from benchmarks.report import describe_machine
from benchmarks.turns import measure

DEMO = Path(str(files("congrad"))) / "demo_data"
CLIENTS = (1, 8, 64)
WARM = 50
RESULT_TTL_S = 60
MEMORY_CLIENTS = 8
SNAPSHOTS = 10
TURNS_S = 60.0


class Bench:
    """A running stack, and the same engine in this process."""

    def __init__(self, stack: Stack, model: Path, rows: list[dict[str, Any]]):
        self._url = stack.url
        self._redis = redis.Redis.from_url(stack.environment["CONGRAD_REDIS_URL"])
        self._rows = rows
        self._pids = part_pids()
        settings = GradientSettings(model=str(model))
        checkpoint = load(locate(settings), settings)
        self._engine = verified_engine(checkpoint, settings)
        self._encoder = Encoder(checkpoint.tokenizer, checkpoint.max_length)

    def trips(self, count: int) -> tuple[list[Trip], dict[str, float]]:
        """One request after the other, and between them the engine alone on the same pair; and the processor time of
        a request, in seconds by process."""
        with self._client() as http:
            for row in islice(cycle(self._rows), WARM):
                self._trip(http, row)
            before = self._cpu()
            found = [self._trip(http, row) for row in islice(cycle(self._rows), count)]
        return found, {name: (after - before[name]) / count for name, after in self._cpu().items()}

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_s(pid) for name, pid in self._pids.items()}

    def _trip(self, http: httpx.Client, row: dict[str, Any]) -> Trip:
        start = time.perf_counter()
        answer = _post(http, row)
        between = time.perf_counter()
        self._engine.compute([self._encoder.encode(Sample.model_validate(row))])
        return Trip(between - start, time.perf_counter() - between, **answer["timing"])

    def level(self, clients: int, seconds: float) -> Level:
        """As many requests as some clients get through, each one after the other."""
        end = time.perf_counter() + seconds

        def client(number: int) -> list[float]:
            taken = []
            with self._client() as http:
                for row in islice(cycle(self._rows), number, None):
                    start = time.perf_counter()
                    if start > end:
                        break
                    _post(http, row)
                    taken.append(time.perf_counter() - start)
            return taken

        with ThreadPoolExecutor(clients) as pool:
            latencies = [seconds for taken in pool.map(client, range(clients)) for seconds in taken]
        return Level(clients, len(latencies) / (seconds + time.perf_counter() - end), latencies)

    def memory(self, requests: int) -> Iterator[Memory]:
        """What the processes hold before, now and then, and after so many requests."""
        yield self._memory(0)
        each = requests // SNAPSHOTS
        with self._client() as http, ThreadPoolExecutor(MEMORY_CLIENTS) as pool:
            for number in range(1, SNAPSHOTS + 1):
                list(pool.map(lambda row: _post(http, row), islice(cycle(self._rows), each)))
                yield self._memory(number * each)

    def _memory(self, requests: int) -> Memory:
        held = {name: resident_mib(pid) for name, pid in self._pids.items()}
        used = self._redis.info("memory")["used_memory"] / 2**20
        return Memory(requests, {**held, "Redis: used_memory": used})

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, timeout=120)


def _post(http: httpx.Client, row: dict[str, Any]) -> dict[str, Any]:
    """:raises httpx.HTTPStatusError: the service refuses."""
    body = {"samples": [row], "repeats": "count"}  # the same few pairs come again and again
    response = http.post("/filter", json=body, headers={"Prefer": "wait=100"}).raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def main(
    model: Annotated[Path, typer.Option(help="Folder of a checkpoint.")] = DEMO / "checkpoint",
    data: Annotated[Path, typer.Option(help="Rows with language, prompt, chosen, rejected.")] = DEMO / "pairs.jsonl",
    trips: Annotated[int, typer.Option(help="Requests whose time is compared with the engine's.", min=100)] = 500,
    seconds: Annotated[float, typer.Option(help="How long each number of clients posts.", min=1)] = 20,
    requests: Annotated[int, typer.Option(help="Requests between the first and the last look at memory.")] = 10_000,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Measures all of it on one stack and writes the report."""
    rows = [{name: row[name] for name in ("language", "prompt", "chosen", "rejected")} for row in read_samples(data)]
    environment = {"CONGRAD_MODEL": str(model), "CONGRAD_RESULT_TTL": str(RESULT_TTL_S)}
    with tempfile.TemporaryDirectory() as folder:
        options = StackOptions(Path(folder), port=0, environment=environment, log=Path(folder) / "log")
        with running_stack(options) as stack:
            bench = Bench(stack, model, rows)
            measured_trips, cpu = bench.trips(trips)
            levels = [bench.level(clients, seconds) for clients in CLIENTS]
            memory = list(bench.memory(requests))
        turns = measure(Path(folder) / "turns", model, rows, TURNS_S)
    about = {
        "command": f"`python benchmarks/load.py --requests {requests}`",
        "checkpoint": model.name if model != DEMO / "checkpoint" else "the shipped one",
        "cores": THREADS,
        "answers are kept for": f"{RESULT_TTL_S} s (`CONGRAD_RESULT_TTL`)",
        **{key: value for key, value in describe_machine(THREADS, torch.device("cpu")).items() if value},
    }
    report = LoadReport(about, measured_trips, cpu, levels, memory, turns)
    console = Console(width=max(Console().width, 140))  # a log file has no width of its own
    console.print(Markdown(report.to_markdown()))
    for path in report.write(output):
        console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
