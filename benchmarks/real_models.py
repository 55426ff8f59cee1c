"""What the filter does to real pretrained checkpoints: labels found by regime and aggregator, layers and losses and
what they cost, and a minority that is right.

    python benchmarks/real_models.py --model CHECKPOINT [--model ANOTHER] --data PAIRS.jsonl [--cache FOLDER]

Gradients are kept in the cache, pair by pair: an interrupted run goes on, and tables are made again in seconds. Prints
tables and writes them to docs/benchmarks.
"""

import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

# torch reads these when it is imported. One thread: on a machine that does other things, more only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks.planted.real_text import MATCHED
from benchmarks.pretrained import costs, first_step, minority, other_pairs
from benchmarks.pretrained.detection import Evidence, all_detections, by_layers, by_loss
from benchmarks.pretrained.evidence import gradients
from benchmarks.pretrained.pairs import MAX_TOKENS, Pairs, read
from benchmarks.pretrained.regimes import EVERYWHERE, REGIMES, THREE
from benchmarks.pretrained.report import RealModelsReport
from benchmarks.report import describe_machine

LANGUAGES = "de,en,es,fr,id,ja,tr,vi"


def measure(
    model: Path, pairs: Pairs, cache: Path, draws: int, timed: int, exact: int, with_cut: bool
) -> dict[str, Any]:
    """Everything about one checkpoint, as JSON."""
    evidence = Evidence.of(pairs, gradients(cache, model, pairs, with_cut))
    worlds = {"opposite": minority.opposite(evidence), "short": minority.by_length(evidence, MATCHED)}
    found: dict[str, Any] = {
        "pairs": dict(Counter(pairs.languages.tolist())),
        "detection": all_detections(evidence, draws),
        "over_prompts": {
            regime.name: asdict(other_pairs.difference(evidence, "agreement", "pcgrad", regime, draws))
            for regime in REGIMES
        },
        "first_step": {regime.name: first_step.outcomes(evidence, regime, draws) for regime in (EVERYWHERE, THREE)},
        "layers": by_layers(evidence, draws),
        "losses": by_loss(evidence, draws),
        "minority": {
            name: {str(size): minority.outcomes(world, size, draws) for size in minority.SIZES}
            for name, world in worlds.items()
        },
    }
    if timed:
        found["seconds"] = costs.seconds(model, spread(pairs, timed).encoded)
    if exact:
        found["fidelity"] = [asdict(one) for one in costs.fidelity(model, spread(pairs, exact))]
    return found


def spread(pairs: Pairs, count: int) -> Pairs:
    """Some of the pairs, of all languages alike."""
    tags = np.unique(pairs.languages)
    each = -(-count // len(tags))
    return pairs.of(np.concatenate([np.flatnonzero(pairs.languages == tag)[:each] for tag in tags])[:count])


def main(
    model: Annotated[list[Path], typer.Option(help="Folder of a checkpoint; may be given several times.")],
    data: Annotated[Path, typer.Option(help="JSONL with TRL's columns, language, and group.")],
    cache: Annotated[Path, typer.Option(help="Where gradients are kept.")] = Path("build/gradients"),
    languages: Annotated[str, typer.Option(help="Tags with commas between.")] = LANGUAGES,
    each: Annotated[int, typer.Option(help="Pairs of a language.", min=3)] = 32,
    draws: Annotated[int, typer.Option(help="Of what is swapped.", min=3)] = 20,
    timed: Annotated[int, typer.Option(help="Pairs that choices of layers are timed on; 0 for none.", min=0)] = 16,
    exact: Annotated[int, typer.Option(help="Pairs with exact gradients, 2 bytes a weight each.", min=0)] = 0,
    ld_alpha: Annotated[bool, typer.Option(help="Whether to measure it: half as much work again.")] = True,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
    name: Annotated[str, typer.Option(help="Of these files.")] = "real_models",
    note: Annotated[str | None, typer.Option(help="What a reader should know of the pairs or of the run.")] = None,
) -> None:
    """Measures all checkpoints on the same file and writes the report."""
    console = Console(width=max(Console().width, 160))  # a log file has no width of its own
    begun = time.perf_counter()
    found = {}
    for folder in model:
        pairs = read(data, folder, languages.split(","), each)
        found[folder.resolve().name] = measure(folder, pairs, cache, draws, timed, exact, ld_alpha)
    options = f"--each {each} --draws {draws} --timed {timed} --exact {exact}{'' if ld_alpha else ' --no-ld-alpha'}"
    about = {
        "command": f"`python benchmarks/real_models.py {' '.join(f'--model {one.name}' for one in model)} "
        f"--data {data.name} --languages {languages} {options}`",
        "pairs": f"{data.name}, at most {each} of a language and {MAX_TOKENS} tokens",
        **({} if note is None else {"note": note}),
        "draws": f"{draws}, seeds 0 to {draws - 1}",
        "time": f"{(time.perf_counter() - begun) / 60:.0f} minutes, without the gradients that were kept",
        **{key: value for key, value in describe_machine(1, torch.device("cpu")).items() if value},
    }
    report = RealModelsReport(about, found)
    report.show(console)
    for path in report.write(output, name):
        console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
