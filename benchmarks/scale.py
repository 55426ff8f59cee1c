"""How a stack grows: with workers, languages, the size of batches and the length of gradients; and what that means for
1, 10 and 100 GPUs.

    make bench-scale                   # python benchmarks/scale.py [--seconds 10]

Redis, the service and the decide worker are the product's. The gradients workers are real workers of Celery that wait
in the place of a GPU (`benchmarks/waiting_worker`), so that everything beside the gradients is what is measured. Prints
tables and writes them to docs/benchmarks.
"""

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Annotated, Any

THREADS = 1
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import numpy as np
import redis
import torch
import typer
from congrad.local.part import Program
from congrad.local.redis_server import configure, free_port
from congrad.local.stack import Stack
from congrad_service.jobs.chunks import BYTES_PER_TOKEN
from congrad_worker.decisions.aggregation.surgery import pcgrad
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.processes import tree_cpu_s
from benchmarks.report import describe_machine
from benchmarks.scale_report import TOKENS, Run, ScaleReport, Setup

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "service": "congrad_service",
    "workers": "benchmarks.waiting_worker",
    "decide": "congrad_worker\0decide",
    "Redis": "redis-server",
}
"""What stands in the command of the processes of a part."""

PAIRS = Setup(workers=2, pair_ms=2, languages=10, batch=256, dim=16_384)
GROUPS: dict[str, list[Setup]] = {
    "workers": [PAIRS.but(workers=number, pair_ms=pair_ms) for pair_ms in (20, 2) for number in (1, 2, 4)],
    "languages": [PAIRS.but(workers=1, languages=number) for number in (10, 50, 200)],
    "batch": [PAIRS.but(batch=size) for size in (16, 64, 256, 1024, 4096)],
    "dim": [PAIRS.but(dim=number) for number in (4_096, 16_384, 65_536)],
}
SURGERY = (10, 20, 50, 100, 200)


class Bench:
    """Redis, the service and a decide worker, and the workers that a setup asks for. To start one costs more than to
    measure, so they stay for the next setup: in the order of `by_workers`."""

    def __init__(self, folder: Path, **settings: str):
        self._log = (folder / "log").open("wb")
        self._pair_ms = folder / "pair_ms"
        config, port = configure(folder, free_port()), free_port()
        self._environment = {
            **os.environ,
            "CONGRAD_REDIS_URL": config.url,
            "CONGRAD_PORT": str(port),
            "CONGRAD_MAX_BODY_BYTES": str(2**28),
            "CONGRAD_RESULT_TTL": "5",
            "WAITING_PAIR_MS_FILE": str(self._pair_ms),
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        self._stack = Stack(f"http://127.0.0.1:{port}", self._environment, self._log)
        self._stack.start(Program("Redis", config.command, self._environment))
        for name, *module in (("decide worker", "congrad_worker", "decide"), ("service", "congrad_service")):
            self._stack.start(Program(name, [sys.executable, "-m", *module], self._environment))
        self._redis = redis.Redis.from_url(config.url, retry=Retry(ConstantBackoff(0.05), 200))
        self._workers = Stack(self._stack.url, self._environment, self._log)
        self._served = (0, 0)  # workers, and D
        self._directions = (f"scale-{number}" for number in count())

    def close(self) -> None:
        """Stops all of it."""
        self._workers.stop()
        self._stack.stop()
        self._log.close()

    def run(self, setup: Setup, seconds: float) -> Run:
        """As many requests as some clients get through, each one after the other, in so many seconds; and the work that
        it takes, until the last of them has its answer."""
        body = request_body(setup)
        direction = next(self._directions)
        self._pair_ms.write_text(str(setup.pair_ms))
        with self._client() as http:
            self._serve(setup, http)
            self._post(http, body, direction)  # connections, and a direction that is there
            before, start = self._spent(), time.perf_counter()
            end = start + seconds

            def client(_: int) -> list[dict[str, float]]:
                taken = []
                while time.perf_counter() < end:
                    begun = time.perf_counter()
                    timing = self._post(http, body, direction)
                    taken.append(timing | {"request_s": time.perf_counter() - begun})
                return taken

            with ThreadPoolExecutor(setup.clients) as pool:
                timings = [timing for taken in pool.map(client, range(setup.clients)) for timing in taken]
            elapsed = time.perf_counter() - start
            spent = {name: after - before[name] for name, after in self._spent().items()}
        return Run(setup, elapsed, timings, spent)

    def _serve(self, setup: Setup, http: httpx.Client) -> None:
        """Has the workers that a setup needs, and no others, ready to work."""
        running, dim = self._served
        if dim != setup.dim or running > setup.workers:
            self._workers.stop()
            self._workers = Stack(self._stack.url, self._environment, self._log)
            running = 0
        for _ in range(setup.workers - running):
            command = [sys.executable, "-m", "benchmarks.waiting_worker"]
            self._workers.start(Program("worker", command, self._environment | {"WAITING_DIM": str(setup.dim)}))
        self._served = (setup.workers, setup.dim)
        while not self._is_whole(http, setup):
            self._workers.check()
            self._stack.check()
            time.sleep(0.1)

    def _is_whole(self, http: httpx.Client, setup: Setup) -> bool:
        try:
            if http.get("/readyz").status_code != httpx.codes.OK:
                return False
            served = http.get("/checkpoints").json()
            return [(one["workers"], one["projection"]["dim"]) for one in served] == [(setup.workers, setup.dim)]
        except httpx.TransportError:
            return False

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._stack.url, timeout=300)

    def _post(self, http: httpx.Client, body: bytes, direction: str) -> dict[str, float]:
        """:raises httpx.HTTPStatusError: the service refuses."""
        named = body.replace(b"DIRECTION", direction.encode(), 1)
        headers = {"Content-Type": "application/json", "Prefer": "wait=280"}
        timing: dict[str, float] = (
            http.post("/filter", content=named, headers=headers).raise_for_status().json()["timing"]
        )
        return timing

    def _spent(self) -> dict[str, float]:
        """Processor seconds by part, and bytes and commands of Redis, so far."""
        stats: dict[str, Any] = self._redis.info("stats")
        return {
            **{name: tree_cpu_s(command) for name, command in COMMANDS.items()},
            "client": time.process_time(),
            "bytes": stats["total_net_input_bytes"] + stats["total_net_output_bytes"],
            "commands": stats["total_commands_processed"],
        }


def request_body(setup: Setup) -> bytes:
    """A request with texts of the usual length, in private-use languages (qaa to qtz), as many as are asked for."""
    tags = [f"q{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrstuvwxyz"][: setup.languages]
    texts = {name: name[0] * (TOKENS * BYTES_PER_TOKEN // 4) for name in ("prompt", "chosen", "rejected")}
    samples = [{"language": tags[number % len(tags)], **texts} for number in range(setup.batch)]
    return json.dumps({"direction": "DIRECTION", "samples": samples}).encode()


def by_workers(setup: Setup) -> tuple[int, int]:
    """Orders setups so that as few workers as can be are started."""
    return setup.dim, setup.workers


def surgery_s(languages: int) -> float:
    """Processor seconds that PCGrad takes once, on random gradients."""
    gradients = np.random.default_rng(0).standard_normal((languages, 4_096))
    gram = gradients @ gradients.T
    start = time.process_time()
    pcgrad(gram, 0)
    return time.process_time() - start


def main(
    seconds: Annotated[float, typer.Option(help="How long each setup is asked.", min=1)] = 10,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Measures all setups and writes the report."""
    console = Console(width=max(Console().width, 140))  # a log file has no width of its own
    measured: dict[Setup, Run] = {}
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            for setup in sorted({setup for group in GROUPS.values() for setup in group}, key=by_workers):
                measured[setup] = bench.run(setup, seconds)
                console.print(f"{setup}: {measured[setup].rate:,.0f} pairs/s")
        finally:
            bench.close()
    about = {
        "command": "`python benchmarks/scale.py`",
        "cores": f"{len(os.sched_getaffinity(0))}, for the stack and its clients together",
        "seconds for each setup": f"{seconds:g}",
        "load average of the machine before": f"{load_before:.1f}",
        **{key: value for key, value in describe_machine(THREADS, torch.device("cpu")).items() if value},
    }
    runs = {name: [measured[setup] for setup in group] for name, group in GROUPS.items()}
    report = ScaleReport(about, runs, {number: surgery_s(number) for number in SURGERY})
    console.print(Markdown(report.to_markdown()))
    for path in report.write(output):
        console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
