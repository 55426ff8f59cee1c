"""Whether swapped labels among real pairs are found, and what training without them gives.

    python benchmarks/real_text.py [--model CHECKPOINT --data PAIRS.jsonl] [--seeds 10] [--processes 2]

Without options on the checkpoint and the pairs that the package ships. Each seed swaps a fifth of the labels of each
language, and holds a third of the prompts out. Prints tables and writes them to docs/benchmarks.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
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

from benchmarks.planted import real_trial
from benchmarks.planted.real_report import RealTextReport
from benchmarks.planted.real_text import RealPairs, read
from benchmarks.planted.training import Recipe
from benchmarks.report import describe_machine

DEMO = Path(str(files("congrad").joinpath("demo_data")))

_pairs: RealPairs | None = None


def _begin(pairs: RealPairs) -> None:
    global _pairs
    _pairs = pairs


def trial(model: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    """One seed."""
    assert _pairs is not None
    return real_trial.run(_pairs, model, recipe, seed)


def main(
    model: Annotated[Path, typer.Option(help="Folder of a Llama.")] = DEMO / "checkpoint",
    data: Annotated[Path, typer.Option(help="JSONL with TRL's columns, language, and group.")] = DEMO / "pairs.jsonl",
    seen: Annotated[int, typer.Option(help="Languages to train on; the others are unseen.", min=2)] = 8,
    seeds: Annotated[int, typer.Option(help="Draws of what is swapped and held out.", min=3)] = 10,
    steps: Annotated[int, typer.Option(help="Of DPO, of eight pairs.", min=1)] = 10,
    learning_rate: Annotated[float, typer.Option(help="Of DPO.")] = 5e-4,
    processes: Annotated[int, typer.Option(help="Seeds at a time, one thread each.", min=1)] = 2,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Runs all seeds and writes the report."""
    console = Console(width=max(Console().width, 140))  # a log file has no width of its own
    begun = time.perf_counter()
    pairs = read(data, model, seen, real_trial.OPTIONS)
    recipe = Recipe(steps, batch=8, learning_rate=learning_rate, looks=1)
    context = multiprocessing.get_context("spawn")  # torch's threads would not survive a fork
    with ProcessPoolExecutor(processes, context, _begin, (pairs,)) as pool:
        waiting = [pool.submit(trial, model, recipe, seed) for seed in range(seeds)]
        trials = [done.result() for done in track(waiting, "seeds")]
    about = {
        "command": "`python benchmarks/real_text.py --model CHECKPOINT --data PAIRS.jsonl "
        f"--seen {seen} --seeds {seeds} --steps {steps} --learning-rate {learning_rate:g}`",
        "checkpoint": model.name,
        "pairs": data.name,
        "time": f"{(time.perf_counter() - begun) / 60:.0f} minutes",
        **{key: value for key, value in describe_machine(1, torch.device("cpu")).items() if value},
        "trl": trl.__version__,
    }
    report = RealTextReport(about, pairs, trials)
    report.show(console)
    for path in report.write(output):
        console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
