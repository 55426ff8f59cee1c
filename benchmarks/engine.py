"""What the gradients of preference pairs cost, beside a plain DPO step and other ways of getting them: the same real
pairs, the same model, in one run, in shuffled turns.

    python benchmarks/engine.py [--data FILE.jsonl --tokenizer DIR] [--prompt-share 0.5 --prompt-share 0.75]
                                [--with-bergson] [--device cuda --shape llama3-8b]

Prints a table for each share of prompt and writes it to docs/benchmarks, with the machine it was seen on.
"""

import argparse
import os
import random
import sys
import tempfile
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

CORES = len(os.sched_getaffinity(0))


def _threads() -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=CORES)
    known: int = parser.parse_known_args()[0].threads
    return known


# torch reads these when it is imported. Passive: a process that waits for its turn leaves the cores to the other.
os.environ["OMP_NUM_THREADS"] = str(_threads())
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler counts memory here, and need not announce it
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import typer
from congrad_worker.checkpoints.checkpoint import Checkpoint, resolve_device
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.modules import target_modules
from congrad_worker.settings import GradientSettings
from rich.console import Console
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from benchmarks.arms import ENGINES, PLAIN, Arm, Baselines, Work, engine_arm
from benchmarks.errors import Subject, check
from benchmarks.notes import reading
from benchmarks.pairs import PairSet, batches, make_pairs, read_encoded
from benchmarks.peer.client import BergsonArm, PeerError
from benchmarks.report import ArmResult, Measurement, Report, describe_machine
from benchmarks.shapes import SHAPES, build
from benchmarks.speed import FLOPS_PER_WEIGHT, matrix_rate

DEMO = Path(str(files("congrad"))) / "demo_data"
CHECKED_PAIRS = 3
"""Pairs whose gradients are compared with autograd's."""

LARGEST_ERROR = 0.1
"""More than rounding leaves in half precision."""


class Bench:
    """One model and everything that is measured on it."""

    def __init__(self, shape: str, tokenizer: Path, device: torch.device, batch_tokens: int, console: Console):
        self.device, self.console = device, console
        self.batch_tokens = batch_tokens
        # Not of unit length, which takes no time and would hide a wrong one from the comparison with autograd.
        self.settings = GradientSettings(
            model=shape, device=str(device), max_batch_tokens=batch_tokens, unit_gradients=False
        )
        loaded = AutoTokenizer.from_pretrained(tokenizer)
        self.model = model = build(shape, len(loaded), device)
        self.checkpoint = Checkpoint(shape, model, loaded, "policy", None, self.settings.max_length)
        modules = target_modules(model, None)
        self.targets = list(modules)
        self.weights = sum(target.shape.weights for target in modules.values())
        self.baselines = Baselines(model, self.targets, self.settings.beta)
        self.engines: dict[str, GradientEngine] = {}
        self.bergson: BergsonArm | None = None
        self.arms: list[Arm] = list(self.baselines.arms())
        self.notes: list[str] = []

    def add_bergson(self, folder: Path, threads: int, stack: ExitStack) -> None:
        """Starts bergson's process; where there can be none, says so and goes on."""
        try:
            self.model.save_pretrained(str(folder))
            self.bergson = BergsonArm(folder, self.targets, self.device, self.settings.beta, threads)
            self.arms.append(stack.enter_context(self.bergson))
        except PeerError as error:
            self.note(f"bergson is left out: {error}")

    def add_engines(self) -> None:
        """Our arms."""
        for key in ENGINES:
            arm, engine = engine_arm(self.checkpoint, self.settings, key)
            self.arms.append(arm)
            self.engines[arm.key] = engine

    def measure(self, pairs: PairSet, rounds: int) -> Measurement:
        """Every arm on the same pairs: once for its memory, which warms it up as well, then ``rounds`` times timed."""
        work = Work(pairs.pairs, batches(pairs.pairs, self.batch_tokens))
        peaks = {arm.key: peak for arm in self.arms if (peak := self._peak(arm, work)) is not None}
        seconds: dict[str, list[float]] = {key: [] for key in peaks}
        measured = [arm for arm in self.arms if arm.key in peaks]
        for number in range(rounds):
            for arm in _shuffled(measured, number):
                with self.console.status(f"round {number + 1} of {rounds}: {arm.label}"):
                    seconds[arm.key].append(arm.seconds(work))
        results = [
            ArmResult(
                arm.key, arm.label, seconds[arm.key], peaks[arm.key], arm.state_bytes, self._model_flops(arm.key, pairs)
            )
            for arm in measured
        ]
        padded = sum(2 * len(batch) * batch[0].length for batch in work.batches)
        return Measurement({**pairs.describe(), "padded_two_row_tokens": padded}, results)

    def _peak(self, arm: Arm, work: Work) -> int | None:
        try:
            with self.console.status(f"memory: {arm.label}"):
                return arm.peak_bytes(work)
        except (torch.OutOfMemoryError, PeerError) as error:
            if arm.key == PLAIN:
                raise
            self.note(f"{arm.label} is left out: {str(error).splitlines()[0]}")
            self.model.requires_grad_(False).zero_grad(set_to_none=True)
            return None

    def _model_flops(self, key: str, pairs: PairSet) -> float:
        tokens = pairs.distinct_tokens if key in ("shared_prefix", "packed") else pairs.two_row_tokens
        return float(FLOPS_PER_WEIGHT[key] * self.weights * tokens)

    def errors(self, pairs: PairSet, folder: Path) -> dict[str, dict[str, float]]:
        """How far each arm's gradients are from autograd's.

        :raises RuntimeError: so far that what is timed would be something else.
        """
        subject = Subject(self.model, self.checkpoint, self.settings, self.targets, pairs.pairs[:CHECKED_PAIRS])
        with self.console.status("comparing with autograd"):
            found = check(subject, self.baselines, self.engines, self.bergson, folder)
        if wrong := [key for key, errors in found.items() if max(errors.values(), default=0.0) > LARGEST_ERROR]:
            raise RuntimeError(f"gradients of {', '.join(wrong)} are not autograd's: {found}")
        return found

    def note(self, text: str) -> None:
        """Something that the reader of the report should know, said at once as well."""
        self.console.print(text, style="yellow")
        self.notes.append(text)


def main(
    data: Annotated[Path, typer.Option(help="Rows with language, prompt, chosen, rejected.")] = DEMO / "pairs.jsonl",
    tokenizer: Annotated[Path, typer.Option(help="Folder of a tokenizer.")] = DEMO / "checkpoint",
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "small",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    prompt_share: Annotated[
        list[float] | None,
        typer.Option(help="Share of the two-row tokens that is prompt; may be repeated.", min=0, max=0.95),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Pairs in a round.", min=1)] = 12,
    max_length: Annotated[int, typer.Option(help="Tokens of the longest row.", min=64)] = 768,
    batch_tokens: Annotated[int, typer.Option(help="Padded tokens of a batch, at most.", min=1)] = 4096,
    rounds: Annotated[int, typer.Option(help="How often each arm is timed.", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of each process.", min=1)] = CORES,
    with_bergson: Annotated[bool, typer.Option(help="Measure bergson too, in an environment under build/.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Measures all arms and writes the report."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape} is none of {', '.join(SHAPES)}", param_hint="--shape")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    console = Console(width=max(Console().width, 120))  # a log file has no width of its own
    bench = Bench(shape, tokenizer, resolve_device(device), batch_tokens, console)
    rows = read_encoded(data, bench.checkpoint.tokenizer)
    sets = [make_pairs(rows, pairs, share, max_length) for share in prompt_share or [0.5, 0.75]]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if with_bergson:
            bench.add_bergson(folder, threads, stack)
        bench.add_engines()
        report = Report(
            machine=describe_machine(threads, bench.device),
            run=_run(bench, data, batch_tokens, rounds),
            errors=bench.errors(sets[0], folder),
            matrix_rate=matrix_rate(bench.device),
            measurements=[bench.measure(pair_set, rounds) for pair_set in sets],
            notes=reading(bench.device.type) + bench.notes,
        )
    report.show(console)
    for path in report.write(output):
        console.print(f"written: {path}")


def _shuffled(arms: list[Arm], seed: int) -> list[Arm]:
    return random.Random(seed).sample(arms, len(arms))  # noqa: S311 # an order


def _run(bench: Bench, data: Path, batch_tokens: int, rounds: int) -> dict[str, Any]:
    model, settings = bench.model, bench.settings
    return {
        "shape": bench.checkpoint.name,
        "device": bench.device.type,
        "dtype": str(bench.checkpoint.dtype).removeprefix("torch."),
        "parameters": f"{sum(p.numel() for p in model.parameters()) / 1e6:,.1f} M, random",
        "target modules": f"{len(bench.targets)} linear layers, {bench.weights / 1e6:,.1f} M weights",
        "pairs from": "the demo pairs" if data.is_relative_to(DEMO) else data.name,
        "compression": f"{settings.projection}, rank {settings.projection_rank}, to {settings.projection_dim:,}",
        "batch tokens": batch_tokens,
        "rounds": rounds,
    }


if __name__ == "__main__":
    typer.run(main)
