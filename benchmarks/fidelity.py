"""How well decisions on compressed gradients agree with those on the exact ones, and what each compression costs.

    python benchmarks/fidelity.py [--model DIR --data FILE.jsonl] [--pairs-per-language 15] [--seeds 3]

The exact gradient of each pair is computed once, and put through the project's own projections as a whole, so that no
setting needs the model again. Prints a table and writes it to docs/benchmarks, with a plot where matplotlib is
installed (the extra `bench`).
"""

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from statistics import mean, pstdev
from typing import Annotated, Any

CORES = len(os.sched_getaffinity(0))
# torch reads these when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", str(CORES))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import typer
from congrad.contract import wire
from congrad.files.samples import read_samples
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.decisions.aggregation.surgery import pcgrad
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Rules, decide
from congrad_worker.decisions.direction import Samples
from congrad_worker.decisions.question import Question
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.modules import target_modules
from congrad_worker.gradients.projection import LinearShape
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.compressions import (
    BATCH_PAIRS,
    BATCH_TOKENS,
    CPU,
    DIMS,
    RANK,
    RANKS,
    Compression,
    Cost,
    compressions,
    cost,
    layer_seconds,
)
from benchmarks.report import describe_machine
from benchmarks.shapes import build

DEMO = Path(str(files("congrad"))) / "demo_data"
RULES = Rules(Rule("pcgrad", 0, pcgrad), half_life=float("inf"))
EXACT_BATCH = 8
"""Pairs whose exact gradients are held in single precision at a time."""
PAIRS_AT_ONCE = 128
"""Pairs of which one layer's gradients are compressed at a time."""
LARGE_MODEL = "llama3-8b"
"""The shapes that costs are stated for beside those of the model at hand."""


COLUMNS = ["projection", "k", "D", "Spearman", "agreement", "FLOPs", f"FLOPs, {LARGE_MODEL}", "ms a batch"]
READING = (
    "Spearman: of the conflict scores with those of the exact gradients; mean and standard deviation over seeds of the "
    "projection. All pairs are one request that begins a direction.",
    "agreement: the share of pairs whose score is on the same side of zero as the exact one; their mean over seeds.",
    "FLOPs: of the projection, over those of the layers' frozen forward and activation backward, 4 d_in d_out a token "
    "and layer, without attention. The sketch, once a pair, is not counted.",
    f"ms a batch: seconds for {BATCH_PAIRS} pairs of {BATCH_TOKENS} tokens in all layers on this machine, with the "
    "sketch: the best of some runs, in float32. The layers' own products (forward and activation backward) are timed "
    "on the same batch.",
    "count sketch: the exact gradient, sketched. It forms the whole gradient of every pair, and is a yardstick only.",
)
BLUES = ("#c6dbef", "#9ecae1", "#6baed6", "#3182bd", "#08306b")
"""For the ranks, from small to large."""
STYLES: dict[str, dict[str, Any]] = {
    "flora": {"color": "#31a354", "linestyle": "--", "marker": "^"},
    "count sketch": {"color": "black", "linestyle": ":", "marker": "x"},
}


def read_pairs(path: Path, encoder: Encoder, each: int | None) -> tuple[list[EncodedPair], list[str]]:
    """The first ``each`` pairs of each language that fit and have a gradient, and their languages."""
    pairs: list[EncodedPair] = []
    languages: list[str] = []
    for row in read_samples(path):
        sample = wire.Sample.model_validate(row)
        if each is not None and languages.count(sample.language) >= each:
            continue
        try:
            pair = encoder.encode(sample)
        except ValueError:  # the prompt alone is too long
            continue
        if not pair.is_tie:
            pairs.append(pair)
            languages.append(sample.language)
    return pairs, languages


def exact_gradients(engine: GradientEngine, pairs: list[EncodedPair], languages: list[str]) -> Samples:
    """Whole gradients as the decide worker gets them: in half precision, which is all that fits of them."""
    units = np.empty((len(pairs), engine.projection.dim), np.float16)
    norms = np.empty(len(pairs), np.float32)
    order = sorted(range(len(pairs)), key=lambda i: pairs[i].length)
    for start in track(range(0, len(pairs), EXACT_BATCH), "exact gradients"):
        rows = order[start : start + EXACT_BATCH]
        part = Samples.of(engine.compute([pairs[i] for i in rows]).values, [languages[i] for i in rows])
        units[rows], norms[rows] = part.units, part.norms
    return Samples(units, norms, languages)


def compressed(exact: Samples, shapes: Mapping[str, LinearShape], compression: Compression, seed: int) -> Samples:
    """What the engine would have given."""
    projection = compression.projection(shapes, seed, CPU)
    target = torch.zeros(len(exact.norms), projection.dim)
    offset = 0
    for name, shape in shapes.items():
        module, size = projection[name], shape.d_out * shape.d_in
        for start in range(0, len(target), PAIRS_AT_ONCE):
            rows = slice(start, start + PAIRS_AT_ONCE)
            whole = torch.from_numpy(exact.units[rows, offset : offset + size]).float()
            module.compress(target[rows], whole.view(-1, shape.d_out, shape.d_in))
        offset += size
    return Samples.of(target.numpy() * exact.norms[:, None], exact.languages)


def conflict_scores(samples: Samples) -> np.ndarray:
    """The scores of one request that begins a direction: float64 ``[n]``."""
    ids = [str(i) for i in range(len(samples.norms))]
    question = Question(
        ids, samples, [False] * len(ids), wire.ThresholdSelection(), update=True, pairs=[None] * len(ids)
    )
    scores = [decision.conflict_score for decision in decide(question, {}, RULES).decisions]
    missing = scores.count(None)
    if missing:
        raise ValueError(f"{missing} of {len(scores)} pairs have no score; each language needs some pairs")
    return np.array(scores, dtype=np.float64)


@dataclass(frozen=True)
class Fidelity:
    """One compression beside the exact gradients; ``spearman`` and ``agreement`` with one figure a seed."""

    compression: Compression
    spearman: list[float]
    agreement: list[float]
    cost: Cost

    def cells(self) -> list[str]:
        """A row of the tables."""
        c = self.compression
        return [
            c.kind,
            "–" if c.rank is None else str(c.rank),
            f"{c.dim:,}",
            f"{mean(self.spearman):.4f} ± {pstdev(self.spearman):.4f}",
            f"{mean(self.agreement):.3f}",
            f"{self.cost.flops:.2%}",
            f"{self.cost.flops_large:.2%}",
            f"{1000 * self.cost.seconds:.0f}",
        ]


@dataclass(frozen=True)
class Report:
    """One run."""

    about: dict[str, Any]
    measured: list[Fidelity]

    def show(self, console: Console) -> None:
        """Prints the table."""
        table = Table()
        for i, column in enumerate(COLUMNS):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for fidelity in self.measured:
            table.add_row(*fidelity.cells())
        console.print(table)

    def write(self, folder: Path, console: Console) -> list[Path]:
        """Writes the files."""
        folder.mkdir(parents=True, exist_ok=True)
        figures, text, picture = (folder / f"fidelity.{kind}" for kind in ("json", "md", "svg"))
        figures.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        text.write_text(self.to_markdown(), encoding="utf-8")
        try:
            plot(self.measured, picture)
        except ModuleNotFoundError:
            console.print("there is no new plot: matplotlib is missing (the extra `bench`)", style="yellow")
            return [figures, text]
        return [figures, text, picture]

    def to_markdown(self) -> str:
        """The table and what its columns mean."""
        rows = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *(fidelity.cells() for fidelity in self.measured)]
        lines = ["# Fidelity of compressed gradients", "", *(f"- {key}: {value}" for key, value in self.about.items())]
        lines += ["", "![Spearman over D](fidelity.svg)", "", *(f"| {' | '.join(row)} |" for row in rows)]
        return "\n".join([*lines, "", "## Reading it", "", *(f"- {note}" for note in READING)]) + "\n"


def plot(measured: list[Fidelity], path: Path) -> None:
    """Spearman over D: a line for each k of `kronecker`, the other kinds at the default k.

    :raises ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines: defaultdict[tuple[str, int | None], list[Fidelity]] = defaultdict(list)
    for fidelity in measured:
        c = fidelity.compression
        if c.kind == "kronecker" or c.rank in (RANK, None):
            lines[c.kind, c.rank].append(fidelity)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="D", ylabel="Spearman with exact scores")
    axes.set_xscale("log", base=2)
    axes.set_xticks(DIMS, [f"{dim:,}" for dim in DIMS])
    axes.grid(alpha=0.3)
    for (kind, rank), points in lines.items():
        dims = [point.compression.dim for point in points]
        label = kind if rank is None else f"{kind}, k = {rank}"
        style = STYLES.get(kind) or {"color": BLUES[RANKS.index(rank or RANK)], "marker": "o"}
        spread = [pstdev(point.spearman) for point in points]
        axes.errorbar(dims, [mean(point.spearman) for point in points], spread, label=label, capsize=2, **style)
    axes.legend()
    with rc_context({"svg.hashsalt": "congrad"}):  # the same figures, the same file
        figure.savefig(path, metadata={"Date": None})


def measure(
    exact: Samples, shapes: Mapping[str, LinearShape], large: Counter[LinearShape], seeds: int
) -> Iterator[Fidelity]:
    """Every compression on the same gradients."""
    truth = conflict_scores(exact)
    counts = Counter(shapes.values())
    for compression in track(compressions(), "compressions"):
        found = [conflict_scores(compressed(exact, shapes, compression, seed)) for seed in range(seeds)]
        spearman = [float(spearmanr(truth, scores).statistic) for scores in found]
        agreement = [float(np.mean((scores > 0) == (truth > 0))) for scores in found]
        yield Fidelity(compression, spearman, agreement, cost(compression, counts, large))


def main(
    model: Annotated[Path, typer.Option(help="Folder of a checkpoint.")] = DEMO / "checkpoint",
    data: Annotated[Path, typer.Option(help="Rows with language, prompt, chosen, rejected.")] = DEMO / "pairs.jsonl",
    pairs_per_language: Annotated[
        int | None,
        typer.Option(help="Of each language, the first so many; all by default. Two bytes a weight are held.", min=1),
    ] = None,
    max_length: Annotated[int, typer.Option(help="Tokens of the longest row.", min=2)] = 384,
    seeds: Annotated[int, typer.Option(help="Projections of each kind.", min=1)] = 3,
    output: Annotated[Path, typer.Option(help="Folder for the JSON, Markdown and SVG files.")] = Path(
        "docs/benchmarks"
    ),
) -> None:
    """Measures all compressions and writes the report."""
    console = Console(width=max(Console().width, 120))  # a log file has no width of its own
    settings = GradientSettings(
        model=str(model), projection="exact", device="cpu", max_length=max_length, unit_gradients=False
    )
    checkpoint = load(locate(settings), settings)
    engine = verified_engine(checkpoint, settings)
    shapes = {name: target.shape for name, target in engine.modules.items()}
    pairs, languages = read_pairs(data, Encoder(checkpoint.tokenizer, checkpoint.max_length), pairs_per_language)
    exact = exact_gradients(engine, pairs, languages)
    large = target_modules(build(LARGE_MODEL, 0, torch.device("meta")), None)
    shapes_large = Counter(target.shape for target in large.values())
    machine = describe_machine(torch.get_num_threads(), CPU)
    about = {
        "command": f"`{_command(model, data, pairs_per_language, max_length, seeds)}`",
        "model": f"{len(shapes)} linear layers, {exact.units.shape[1] / 1e6:.2f} M weights",
        "pairs": f"{len(pairs)} in {len(set(languages))} languages",
        **{key: value for key, value in machine.items() if value},
        "layers' own products": f"{1000 * layer_seconds(Counter(shapes.values())):.0f} ms a batch",
    }
    report = Report(about, list(measure(exact, shapes, shapes_large, seeds)))
    report.show(console)
    for path in report.write(output, console):
        console.print(f"written: {path}")


def _command(model: Path, data: Path, each: int | None, max_length: int, seeds: int) -> str:
    """What was asked, without the folders of this machine."""
    options: dict[str, Any] = {}
    if not model.is_relative_to(DEMO):
        options["--model"] = model.name
    if not data.is_relative_to(DEMO):
        options["--data"] = data.name
    if each is not None:
        options["--pairs-per-language"] = each
    options |= {"--max-length": max_length, "--seeds": seeds}
    return "python benchmarks/fidelity.py " + " ".join(f"{name} {value}" for name, value in options.items())


if __name__ == "__main__":
    typer.run(main)
