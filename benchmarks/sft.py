"""Whether the conflict score finds noise among completions to imitate, where it is known which rows are noise.

    make bench-sft                     # python benchmarks/sft.py [--seeds 10] [--processes 2]

Each seed draws a world of made-up languages, pretrains a small Llama on it, and scores its rows with the worker's
engine and decide, under the loss sft. Prints tables and writes them to docs/benchmarks.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

# torch reads these when it is imported. One thread a process: the model is too small for more.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track

from benchmarks.planted.sft_report import SftReport
from benchmarks.planted.sft_trial import STEPS, run
from benchmarks.planted.world import World
from benchmarks.report import describe_machine

WORLD = World()


def main(
    seeds: Annotated[int, typer.Option(help="Worlds.", min=3)] = 10,
    processes: Annotated[int, typer.Option(help="Seeds at a time, one thread each.", min=1)] = 2,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Runs all seeds and writes the report."""
    begun = time.perf_counter()
    # Not forked: torch's threads would not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        # All are under way at once; results are taken in order.
        waiting = {
            name: [pool.submit(run, WORLD, seed, steps) for seed in range(seeds)] for name, steps in STEPS.items()
        }
        results = {name: [each.result() for each in track(of_one, name)] for name, of_one in waiting.items()}
    about = {
        "command": f"`python benchmarks/sft.py --seeds {seeds} --processes {processes}`",
        "seeds": f"0 to {seeds - 1}; each draws the world, the model and the rows anew",
        "time": f"{(time.perf_counter() - begun) / 60:.0f} minutes",
        "processes": processes,
        **{key: value for key, value in describe_machine(1, torch.device("cpu")).items() if value},
    }
    report = SftReport(about, WORLD, results)
    console = Console(width=max(Console().width, 140))  # a log file has no width of its own
    console.print(Markdown(report.to_markdown()))
    for path in report.write(output):
        console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
