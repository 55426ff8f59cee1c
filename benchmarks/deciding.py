"""Where a decide worker's time goes, for each pair of a job: reading gradients, folding them in, scoring, and the rest.

    python benchmarks/deciding.py [--pairs 4096] [--store redis]

One job is decided in this process, then scored again against the version that it made, and then under another
aggregator. Redis is real; the gradients are made up. Prints processor time, which other work on the machine changes
less than it changes a clock on the wall.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import redis
import typer
from congrad.local.redis_server import configure, free_port
from congrad_worker.decisions import decide, direction
from congrad_worker.tasks import metrics
from congrad_worker.tasks.deciding import verdicts
from congrad_worker.tasks.store import Store
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from rich.console import Console
from rich.table import Table
from support.bench import Bench

from benchmarks.waiting_worker.engine import WaitingEncoder, WaitingEngine
from benchmarks.waiting_worker.settings import WaitingSettings

WATCHED: dict[str, list[tuple[Any, str]]] = {
    "gradients read": [(Store, "gradients")],
    "folded in": [(direction, "_sums")],
    "multiplied with the direction": [(decide, "products")],
    "scores, of these": [(decide, "score")],
    "pairs that are known": [(Store, "recall"), (decide, "learn")],
    "direction read, surgery": [(Store, "direction"), (decide, "consensus")],
    "decisions made": [(decide, "_decisions"), (decide, "select"), (decide, "summarise")],
    "answer written": [(verdicts, "step_of"), (Store, "commit")],
    "products read and written": [(Store, "measured"), (Store, "put_measured")],
    "metrics": [(metrics, "count_answer")],
}
"""What takes the time, by what it is called here."""

Seconds = dict[str, float]


@contextmanager
def watched() -> Iterator[Seconds]:
    """The processor time that each of them takes in the block."""
    spent: Seconds = defaultdict(float)

    def timed(label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            begun = time.process_time()
            try:
                return function(*args, **named)
            finally:
                spent[label] += time.process_time() - begun

        return call

    before = [(owner, name, getattr(owner, name)) for ones in WATCHED.values() for owner, name in ones]
    for label, ones in WATCHED.items():
        for owner, name in ones:
            setattr(owner, name, timed(label, getattr(owner, name)))
    begun = time.process_time()
    try:
        yield spent
    finally:
        spent["all"] = time.process_time() - begun
        for owner, name, function in before:
            setattr(owner, name, function)


def main(
    pairs: Annotated[int, typer.Option(help="Pairs of the job.", min=1, max=4096)] = 4096,
    store: Annotated[str, typer.Option(help="`file`, a folder of this machine, or `redis`.")] = "file",
    dim: Annotated[int, typer.Option(help="D.")] = 16_384,
    languages: Annotated[int, typer.Option(help="Languages.", min=2, max=26)] = 10,
) -> None:
    """Measures it."""
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as url:
        bench = _bench(Path(folder), url, store, dim)
        rows = [
            {
                "language": f"qa{chr(97 + number % languages)}",
                "prompt": f"{number}",
                "chosen": "c" * 200,
                "rejected": "",
            }
            for number in range(pairs)
        ]
        job_id, chunks = bench.create(samples=rows, retain=True)
        for number in range(chunks):
            bench.processor.process(job_id, number)
        table = Table("microseconds a pair", *WATCHED, "all", "pairs/s of a core", title=f"{store}, {pairs:,} pairs")
        questions: dict[str, Callable[[], str]] = {
            "first pass": lambda: job_id,
            "second pass": lambda: bench.rescore(job_id, retain=True),
            "another aggregator": lambda: bench.rescore(job_id, retain=True, aggregator="agreement"),
        }
        for name, ask in questions.items():
            asked = ask()
            with watched() as spent:
                bench.judge.settle(asked)
            bench.result(asked)  # it has one
            figures = [f"{1e6 * spent[label] / pairs:.1f}" for label in (*WATCHED, "all")]
            table.add_row(name, *figures, f"{pairs / spent['all']:,.0f}")
        Console(width=220).print(table)


def _bench(folder: Path, url: str, store: str, dim: int) -> Bench:
    pair_ms = folder / "pair_ms"
    pair_ms.write_text("0")
    settings = WaitingSettings(pair_ms_file=pair_ms, dim=dim, by_content=True)
    return Bench(
        url,
        (WaitingEncoder(settings), WaitingEngine(settings)),
        gradient_store=f"file://{folder}/gradients" if store == "file" else store,
        chunk_tokens=16_384,
        max_retained_bytes=2**40,
        max_queue_bytes=2**40,
    )


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """A Redis of its own; its URL."""
    config = configure(folder, free_port())
    process = subprocess.Popen(config.command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis.from_url(config.url, retry=Retry(ConstantBackoff(0.1), 100)) as connection:
            connection.ping()
        yield config.url
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    typer.run(main)
