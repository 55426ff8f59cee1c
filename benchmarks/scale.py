"""How a stack grows: with workers, languages, the size of batches and the length of gradients; what a gradient store
takes off Redis; what happens when half of the workers are killed; and what that means for 1 to 1,000 GPUs.

    make bench-scale                   # python benchmarks/scale.py [--seconds 10]

Redis, the service and the decide worker are the product's. The gradients workers are real workers of Celery that wait
in the place of a GPU (`benchmarks/waiting_worker`), so that everything beside the gradients is what is measured. Prints
tables and writes them to docs/benchmarks.
"""

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

THREADS = 1
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import typer
from congrad_worker.decisions.aggregation.surgery import pcgrad
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.report import describe_machine
from benchmarks.scale_report import Measured, ScaleReport
from benchmarks.scale_runs import Run, Setup
from benchmarks.scale_stack import Bench, by_workers

PAIRS = Setup(workers=2, pair_ms=2, languages=10, batch=256, dim=16_384)
MANY = PAIRS.but(batch=32, asking=0)
"""A request is a chunk, which a worker computes alone; so there are two for each worker."""

GROUPS: dict[str, list[Setup]] = {
    "workers": [
        MANY.but(workers=number, pair_ms=pair_ms, asking=2 * number, each=each)
        for pair_ms, each in ((200, 1), (40, 4))
        for number in (1, 8, 64)
    ],
    "languages": [PAIRS.but(workers=1, languages=number) for number in (10, 50, 200)],
    "batch": [PAIRS.but(batch=size) for size in (16, 64, 256, 1024, 4096)],
    "dim": [PAIRS.but(dim=number) for number in (4_096, 16_384, 65_536)],
    "store": [PAIRS, PAIRS.but(passes=2), PAIRS.but(passes=2, store="file")],
}
PARTS = (*GROUPS, "idle", "killed", "surgery")
"""Of the report."""

KILLED = MANY.but(workers=64, pair_ms=100, asking=128)
KILLED_S = 9.0
"""How long before, and how long after."""

IDLE = MANY.but(workers=64)
SURGERY = (10, 20, 50, 100, 200)
SURGERIES = 9


def surgery_s(languages: int) -> float:
    """Processor seconds of PCGrad on random gradients: the median of a few times, as in a worker that has done it
    before."""
    gradients = np.random.default_rng(0).standard_normal((languages, 4_096))
    gram = gradients @ gradients.T
    pcgrad(gram, 0)
    found = []
    for _ in range(SURGERIES):
        start = time.process_time()
        pcgrad(gram, 0)
        found.append(time.process_time() - start)
    return median(found)


def in_redis(bench: Bench, groups: Mapping[str, Sequence[Setup]], seconds: float, console: Console) -> dict[Setup, Run]:
    """The setups of some groups whose gradients are in Redis."""
    measured: dict[Setup, Run] = {}
    setups = {setup for group in groups.values() for setup in group if setup.store == "redis"}
    for setup in sorted(setups, key=by_workers):
        measured[setup] = bench.run(setup, seconds)
        console.print(f"{setup}: {measured[setup].rate:,.0f} pairs/s")
    return measured


def with_a_store(folder: Path, setups: Sequence[Setup], seconds: float) -> dict[Setup, Run]:
    """The setups whose gradients are in a folder."""
    bench = Bench(folder, CONGRAD_GRADIENT_STORE=f"file://{folder}/gradients")
    try:
        return {setup: bench.run(setup, seconds) for setup in setups if setup.store == "file"}
    finally:
        bench.close()


def measured(only: Sequence[str], seconds: float, console: Console) -> Measured:
    """What was asked for."""
    groups = {name: group for name, group in GROUPS.items() if name in only}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        bench = Bench(Path(one))
        try:
            runs = in_redis(bench, groups, seconds, console)
            idle = bench.idle(IDLE, seconds) if "idle" in only else None
            killed = bench.killed(KILLED, KILLED_S, KILLED_S) if "killed" in only else None
        finally:
            bench.close()
        if "store" in groups:
            runs |= with_a_store(Path(other), groups["store"], seconds)
    surgery = {number: surgery_s(number) for number in SURGERY} if "surgery" in only else {}
    return Measured({name: [runs[setup] for setup in group] for name, group in groups.items()}, idle, killed, surgery)


def main(
    seconds: Annotated[float, typer.Option(help="How long each setup is asked.", min=1)] = 10,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Measure this alone, and leave the rest of the report as it is: {', '.join(PARTS)}."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Measures all setups and writes the report."""
    console = Console(width=max(Console().width, 140))  # a log file has no width of its own
    chosen = only or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        raise typer.BadParameter(f"{', '.join(unknown)}: there is {', '.join(PARTS)}")
    load_before = os.getloadavg()[0]
    found = measured(chosen, seconds, console)
    loads = dict.fromkeys(chosen, load_before)
    about = {
        "command": "`python benchmarks/scale.py`",
        "cores": f"{len(os.sched_getaffinity(0))}, for the stack and its clients together",
        **{key: value for key, value in describe_machine(THREADS, torch.device("cpu")).items() if value},
    }
    report = ScaleReport(about, loads, found) if only is None else ScaleReport.read(output).with_(about, loads, found)
    console.print(Markdown(report.to_markdown()))
    for path in report.write(output):
        console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
