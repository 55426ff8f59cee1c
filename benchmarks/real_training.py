"""What training on the kept pairs gives: DPO with LoRA by TRL on a pretrained checkpoint, an arm for each choice.

    python benchmarks/real_training.py --model CHECKPOINT --data PAIRS.jsonl [--seeds 5] [--steps 100] [--cache FOLDER]

Every run is written down as soon as it has ended, and not done again. Prints tables and writes them to docs/benchmarks.
"""

import hashlib
import itertools
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

# torch reads these when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import trl
import typer
from rich.console import Console

from benchmarks.pages import as_json, write
from benchmarks.planted import pages
from benchmarks.planted.statistics import estimate, paired_difference
from benchmarks.planted.tables import Table, interval, p_value
from benchmarks.planted.training import Recipe
from benchmarks.pretrained import arms
from benchmarks.pretrained.evidence import gradients, gram
from benchmarks.pretrained.pairs import MAX_TOKENS, Pairs, read
from benchmarks.pretrained.regimes import EVERYWHERE, THREE, Draw, Regime, draw
from benchmarks.pretrained.scores import Inner, signed, unit
from benchmarks.pretrained.training import HeldOut, logps_at_start, train
from benchmarks.report import describe_machine

HELD_OUT = 1 / 3
MEASURES = ("seen", "unseen", "worst", "margin_seen", "perplexity")
INTRODUCTION = (
    "Real preference pairs under a real pretrained checkpoint, some of whose labels are swapped, and DPO with LoRA on "
    "what each arm keeps. A third of the prompts is held out in all languages at once; labels there are as they are. "
    "Accuracy is the share of held-out pairs whose margin has grown in favour of the better answer, the tax the "
    "perplexity of the held-out prompts, which no label says anything of. The same steps, batches and rate for all.",
)


@dataclass(frozen=True)
class World:
    """Pairs of seen and unseen languages, the seen ones' inner products, and log-probabilities before training."""

    seen: Pairs
    unseen: Pairs
    gram: np.ndarray
    start_seen: np.ndarray
    start_unseen: np.ndarray

    def held(self, out: np.ndarray) -> tuple[np.ndarray, HeldOut]:
        """Positions of the seen languages' pairs to train on, and what is held out.

        :param out: groups that are held out.
        """
        here, there = (np.isin(pairs.groups, out) for pairs in (self.seen, self.unseen))
        first, second = self.seen.of(np.flatnonzero(here)), self.unseen.of(np.flatnonzero(there))
        held = HeldOut(
            first.encoded + second.encoded,
            np.concatenate([first.languages, second.languages]),
            np.arange(len(first.encoded) + len(second.encoded)) < len(first.encoded),
            np.concatenate([self.start_seen[here], self.start_unseen[there]]),
        )
        return np.flatnonzero(~here), held


@dataclass(frozen=True)
class Source:
    """Where the pairs are from, and which: of ``each`` pairs of a language those up to ``max_tokens``."""

    model: Path
    data: Path
    cache: Path
    seen: str
    unseen: str
    each: int
    max_tokens: int

    def read(self, languages: str) -> Pairs:
        """Drawn first and left out for their length then: the gradients are among those of the other tables."""
        pairs = read(self.data, self.model, languages.split(","), self.each)
        return pairs.of(np.flatnonzero([pair.length <= self.max_tokens for pair in pairs.encoded]))


def prepare(source: Source) -> World:
    """The same pairs for every run."""
    pairs, others = source.read(source.seen), source.read(source.unseen)
    found = gradients(source.cache, source.model, pairs, with_cut=False)
    starts = (logps_at_start(source.model, which.encoded) for which in (pairs, others))
    return World(pairs, others, gram(found.of()), *starts)


def run(world: World, model: Path, regime: Regime, seed: int, arm: str, recipe: Recipe) -> dict[str, Any]:
    """One arm in one draw."""
    groups = np.unique(np.concatenate([world.seen.groups, world.unseen.groups]))
    out = np.random.default_rng([seed, 4]).permutation(groups)[: round(HELD_OUT * len(groups))]
    rows, held = world.held(out)
    pairs = world.seen.of(rows)
    drawn = draw(regime, pairs.languages, seed)
    inner = Inner.of(signed(unit(world.gram[np.ix_(rows, rows)]), drawn.signs), pairs.languages)
    ratios = np.log(pairs.lengths) @ np.array([1.0, -1.0]) * drawn.signs
    keep = arms.selections(inner, ratios, drawn, seed)[arm]
    begun = time.process_time()
    curve = train(model, _texts(pairs, drawn, keep), recipe, seed, held)
    spent = time.process_time() - begun
    counts = {"kept": int(keep.sum()), "wrong_kept": float(drawn.wrong[keep].mean()), "held_out": len(held.pairs)}
    return counts | curve[-1] | {"curve": curve, "processor_s": spent}


def kept_run(source: Source, world: World, regime: Regime, seed: int, arm: str, recipe: Recipe) -> dict[str, Any]:
    """One arm in one draw, from the cache where it has been run."""
    given = (source.model.resolve().name, source.data.name, source.seen, source.unseen, source.each, source.max_tokens)
    key = f"{given} {regime} {seed} {arm} {recipe}"
    path = source.cache / "runs" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run(world, source.model, regime, seed, arm, recipe)), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _texts(pairs: Pairs, drawn: Draw, keep: np.ndarray) -> list[Any]:
    def text(i: int) -> Any:
        one = pairs.texts[i]
        return one.model_copy(update={"chosen": one.rejected, "rejected": one.chosen}) if drawn.wrong[i] else one

    return [text(i) for i in np.flatnonzero(keep).tolist()]


def outcomes(found: dict[str, list[dict[str, Any]]], regime: str) -> Table:
    """What became of the model, by arm."""
    rows = [
        [
            name,
            f"{mean(run['kept'] for run in runs):.0f}",
            f"{mean(run['wrong_kept'] for run in runs):.1%}",
            *(interval(estimate([run[key] for run in runs]), 1, 3) for key in MEASURES),
        ]
        for name, runs in found.items()
    ]
    return Table(f"{regime}: after training", ("trained on", "pairs", "wrong", *MEASURES), rows)


def differences(found: dict[str, list[dict[str, Any]]], regime: str) -> Table:
    """Agreement less each other arm, draw by draw."""
    own = found[arms.MAIN]
    rows = []
    for name, runs in found.items():
        if name != arms.MAIN:
            less = [
                paired_difference([one[key] for one in own], [one[key] for one in runs]) for key in ("seen", "unseen")
            ]
            rows.append([name, *(cell for one in less for cell in (interval(one, 100), p_value(one)))])
    columns = (f"{arms.MAIN} less", "seen, points [95 %]", "p", "unseen, points [95 %]", "p")
    return Table(f"{regime}: paired differences", columns, rows)


def at_equal_margin(found: dict[str, list[dict[str, Any]]], regime: str) -> Table:
    """Accuracy and tax where an arm's margin in seen languages reaches what training on all pairs ends with."""
    rows = []
    margins = [one["margin_seen"] for one in found[arms.ALL]]
    for name, runs in found.items():
        reached = [_at_margin(one["curve"], margin) for one, margin in zip(runs, margins, strict=True)]
        there = [one for one in reached if one is not None]
        if len(there) == len(runs):
            rows.append([name, *(f"{mean(one[key] for one in there):.3f}" for key in ("step", *MEASURES))])
    return Table(f"{regime}: at the margin of all pairs", ("trained on", "step", *MEASURES), rows)


def _at_margin(curve: list[dict[str, float]], margin: float) -> dict[str, float] | None:
    """Linear between looks; None if it is never reached."""
    before: dict[str, float] | None = None
    for after in curve:
        if after["margin_seen"] >= margin:
            if before is None:
                return after
            share = (margin - before["margin_seen"]) / (after["margin_seen"] - before["margin_seen"])
            return {key: before[key] + share * (after[key] - before[key]) for key in before}
        before = after
    return None


def main(
    model: Annotated[Path, typer.Option(help="Folder of a checkpoint.")],
    data: Annotated[Path, typer.Option(help="JSONL with TRL's columns, language, and group.")],
    cache: Annotated[Path, typer.Option(help="Where gradients and runs are kept.")] = Path("build/gradients"),
    languages: Annotated[str, typer.Option(help="To train on, with commas between.")] = "de,en,es,fr,id,ja,tr,vi",
    unseen: Annotated[str, typer.Option(help="To measure besides.")] = "it,pt",
    each: Annotated[int, typer.Option(help="Pairs of a language.", min=3)] = 32,
    max_tokens: Annotated[int, typer.Option(help="Longer ones of them are left out.", min=8)] = MAX_TOKENS,
    seeds: Annotated[int, typer.Option(help="Draws.", min=3)] = 5,
    steps: Annotated[int, typer.Option(help="Of DPO.", min=1)] = 100,
    batch: Annotated[int, typer.Option(help="Pairs of a step.", min=1)] = 8,
    learning_rate: Annotated[float, typer.Option(help="Of DPO.")] = 1e-4,
    looks: Annotated[int, typer.Option(help="Measurements on the way.", min=1)] = 4,
    swapped: Annotated[list[str] | None, typer.Option(help=f"Only {THREE.name!r} or {EVERYWHERE.name!r}.")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="Only these; all by default.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Trains every arm in every draw of both regimes and writes the report."""
    console = Console(width=max(Console().width, 150))  # a log file has no width of its own
    recipe = Recipe(steps, batch, learning_rate, looks)
    source = Source(model, data, cache, languages, unseen, each, max_tokens)
    world = prepare(source)
    names = [name for name in arms.ARMS if arm is None or name in {*arm, arms.MAIN, arms.ALL}]
    regimes = [regime for regime in (THREE, EVERYWHERE) if swapped is None or regime.name in swapped]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        regime.name: {name: [] for name in names} for regime in regimes
    }
    for regime, seed, name in itertools.product(regimes, range(seeds), names):
        found[regime.name][name].append(kept_run(source, world, regime, seed, name, recipe))
        console.print(f"{regime.name}, draw {seed}, {name}: {found[regime.name][name][-1]['seen']:.3f}")
    spent = sum(one["processor_s"] for of in found.values() for runs in of.values() for one in runs)
    about = {
        "command": f"`python benchmarks/real_training.py --model {model.name} --data {data.name} "
        f"--languages {languages} --unseen {unseen} --each {each} --max-tokens {max_tokens} "
        f"--seeds {seeds} --steps {steps} --batch {batch} --learning-rate {learning_rate:g} --looks {looks}"
        f"{''.join(f' --swapped {name!r}' for name in swapped or [])}"
        f"{''.join(f' --arm {name}' for name in arm or [])}`",
        "pairs": f"{len(world.seen.texts)} in seen, {len(world.unseen.texts)} in unseen languages",
        "processor time": f"{spent / 3600:.1f} hours of training and measuring",
        **{key: value for key, value in describe_machine(1, torch.device("cpu")).items() if value},
        "trl": trl.__version__,
    }
    tables = [
        table
        for regime, of in found.items()
        for table in (outcomes(of, regime), differences(of, regime), at_equal_margin(of, regime))
    ]
    pages.show(console, "Training", tables)
    lines = pages.heading(f"Training on what is kept: {model.resolve().name}", about, INTRODUCTION)
    for table in tables:
        lines += pages.section(table, table.title, 2)
    data_text = as_json({"about": about, "found": found})
    for path in write(output, f"real_training_{model.resolve().name}", "\n".join(lines) + "\n", data_text):
        console.print(f"written: {path}")


if __name__ == "__main__":
    typer.run(main)
