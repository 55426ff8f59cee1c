"""What requests of one pair each gain from being computed together, where a batch of eight takes as long as one of one.

    python benchmarks/small_requests.py [--clients 64] [--seconds 30]

Redis, the service and the decide worker are the product's; a worker waits in the place of a GPU, as in `scale.py`.
"""

import math
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

sys.path.insert(0, str(Path(__file__).parents[1]))

import typer
from congrad_service.jobs.chunks import BYTES_PER_TOKEN

from benchmarks.scale import PAIRS
from benchmarks.scale_runs import Run
from benchmarks.scale_stack import Bench, request_body

AT_ONCE = 8
TOKENS = math.ceil(AT_ONCE * len(request_body(PAIRS.but(batch=1))) / BYTES_PER_TOKEN)
"""A worker takes along what takes no longer: more would begin a second batch of few."""


def measured(clients: int, batch_ms: float, seconds: float, together: bool) -> Run:
    """So many clients, each with one request after the other."""
    with tempfile.TemporaryDirectory() as folder:
        waiting = {"AT_ONCE": AT_ONCE, "BATCH_TOKENS": TOKENS, "TOGETHER": together}
        bench = Bench(Path(folder), **{f"WAITING_{name}": str(value) for name, value in waiting.items()})
        try:
            return bench.run(PAIRS.but(workers=1, pair_ms=batch_ms, batch=1, asking=clients), seconds)
        finally:
            bench.close()


def main(
    clients: Annotated[int, typer.Option(help="Who ask at the same time.", min=1)] = 64,
    batch_ms: Annotated[float, typer.Option(help="Of a batch of one to eight pairs, in milliseconds.")] = 1_000,
    seconds: Annotated[float, typer.Option(help="How long they ask.", min=1)] = 30,
) -> None:
    """Compares both ways, and one client with many."""
    print(f"| {clients} clients, batches of {batch_ms:g} ms | requests/s | p50 s |\n|---|---:|---:|")
    for name, asking, together in (
        ("alone", 1, True),
        ("each request a batch", clients, False),
        ("together", clients, True),
    ):
        run = measured(asking, batch_ms, seconds, together)
        waited = median(timing["request_s"] for timing in run.timings)
        print(f"| {name} | {run.rate:.2f} | {waited:.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
