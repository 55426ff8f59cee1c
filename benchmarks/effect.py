"""Whether training on the pairs that are kept gives a better model, where it is known which pairs conflict.

    make bench-effect                  # python benchmarks/effect.py [--seeds 10] [--processes 2]

Each seed draws a world of made-up languages, pretrains a small Llama on it, scores its preference pairs with the
worker's engine and decide, and trains a copy of the model on what each arm keeps. Prints tables and writes them to
docs/benchmarks.
"""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any

# torch reads these when it is imported. One thread a process: the model is too small for more.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import trl
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.planted import ablations, arms
from benchmarks.planted.report import ANNOUNCED, DIVIDED, SCATTERED, EffectReport
from benchmarks.planted.trial import Budget, run
from benchmarks.planted.world import World
from benchmarks.report import describe_machine

WORLDS = {
    ANNOUNCED: World(),
    SCATTERED: World(announced=False),
    DIVIDED: World(pairs=200, swapped=0.3, rival_languages=(), noisy_languages=(), taste=0.9, other_taste=(3, 5, 7)),
}
SOME = (arms.ALL, arms.RANDOM, arms.NO_SURGERY, arms.THRESHOLD, arms.ORACLE)
BUDGETS = {
    ANNOUNCED: Budget(trained_ablations=(ablations.MLP_UNITS, ablations.STREAM)),
    SCATTERED: Budget(arms=(*SOME, arms.MARGIN, arms.OWN_LANGUAGE), ablations=False),
    DIVIDED: Budget(arms=SOME, compressions=False),
}


def trial(name: str, seed: int) -> dict[str, Any]:
    """One seed of one world."""
    return run(WORLDS[name], seed, BUDGETS[name])


def trials(seeds: int, processes: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """All seeds of all worlds, as they come."""
    # Not forked: torch's threads would not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {pool.submit(trial, name, seed): name for name in WORLDS for seed in range(seeds)}
        for done in track(as_completed(waiting), "seeds", total=len(waiting)):
            yield waiting[done], done.result()


def main(
    seeds: Annotated[int, typer.Option(help="Worlds of each kind.", min=3)] = 10,
    processes: Annotated[int, typer.Option(help="Seeds at a time, one thread each.", min=1)] = 2,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Runs all seeds and writes the report."""
    console = Console(width=max(Console().width, 140))  # a log file has no width of its own
    begun = time.perf_counter()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in WORLDS}
    for name, result in trials(seeds, processes):
        found[name].append(result)
    machine = describe_machine(1, torch.device("cpu"))
    about = {
        "command": f"`python benchmarks/effect.py --seeds {seeds} --processes {processes}`",
        "seeds": f"0 to {seeds - 1}; each draws the world, the model and the order of the pairs anew",
        "time": f"{(time.perf_counter() - begun) / 60:.0f} minutes, in which the processes computed for "
        f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime / 60 / processes:.0f} each",
        "processes": processes,
        **{key: value for key, value in machine.items() if value},
        "trl": trl.__version__,
    }
    ordered = {name: sorted(rows, key=lambda row: row["seed"]) for name, rows in found.items()}
    report = EffectReport(about, WORLDS, ordered)
    report.show(console)
    for path in report.write(output):
        console.print(f"written: {path}")
    try:
        report.draw(output)
    except ModuleNotFoundError:
        console.print("there are no new pictures: matplotlib is missing (the extra `bench`)", style="yellow")


if __name__ == "__main__":
    typer.run(main)
