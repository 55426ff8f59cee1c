"""What a GPU does with the engine, in at most eight minutes and without a network: whether its tests pass there, how
fast each layout is, how far half precision is from float32, and where the time of one batch goes.

    python benchmarks/gpu_check.py --output OUT            # on a machine with one GPU of 80 GB
    python benchmarks/gpu_check.py --rehearse --output OUT # every step of it on a CPU, in small

Each part stands for itself: what fails is written down, and the next one begins; and each result is written as soon as
it is there. What the machine lacks is said first. The exit status is 1 where a part has failed.
"""

import gc
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

NEEDED = ("torch", "transformers", "peft", "pydantic_settings", "redis", "celery", "typer", "rich", "scipy", "pytest")
"""Modules that have to be there. The first two a machine with a GPU brings along, and they should be its own."""

ROOT = Path(__file__).parents[1]

if __name__ == "__main__" and (missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]):
    sys.exit(f"missing: {' '.join(missing)}; bring wheels along: pip download --no-deps -c constraints.txt -d DIR ...")

import torch
import typer
from congrad_worker.checkpoints.checkpoint import Checkpoint, resolve_device
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.device import is_out_of_memory
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.verification import verified_engine, verify
from congrad_worker.settings import GradientSettings
from rich.console import Console
from rich.markdown import Markdown
from scipy.stats import spearmanr
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from benchmarks.arms import Baselines, Work, compressed_gradients
from benchmarks.memory import peak_bytes
from benchmarks.pairs import PairSet, batches, make_pairs, read_encoded
from benchmarks.precision import scores
from benchmarks.report import describe_machine
from benchmarks.shapes import SHAPES
from benchmarks.speed import matrix_rate

DEMO = Path(str(files("congrad"))) / "demo_data"
PROMPT_SHARE = 0.5
BETA = 0.1
PLAIN = "plain DPO step"
EIGHT_BITS = "backward in 8 bits"


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    device: torch.device
    seconds: float  # after which no further part begins
    shapes: tuple[str, ...]
    pairs: int
    max_length: int
    batch_tokens: int
    rounds: int
    pairs_per_language: int  # of which half precision is compared
    tests: tuple[str, ...]
    is_small: bool = False  # shapes are made of few layers, narrow ones


ON_GPU = Plan(
    device=torch.device("cuda", 0),
    seconds=420,
    shapes=("llama3-8b", "gemma2-2b"),
    pairs=64,
    max_length=1024,
    batch_tokens=8192,
    rounds=2,
    pairs_per_language=8,
    tests=("tests/worker/gradients/layouts", "tests/worker/gradients/test_architectures.py"),
)

REHEARSAL = replace(
    ON_GPU,
    device=torch.device("cpu"),
    seconds=3600,  # a machine that is busy with other things is no fault
    pairs=4,
    max_length=64,
    batch_tokens=256,
    rounds=1,
    pairs_per_language=1,
    tests=("tests/worker/gradients/layouts/test_layouts.py",),
    is_small=True,
)

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 24,
}


Found = dict[str, Any]
"""What a part has found, by name."""


class Check:
    """All parts, and what they have found so far.

    :param keep: is given that whenever it has grown.
    """

    def __init__(self, plan: Plan, console: Console, keep: Callable[[Mapping[str, Any]], None]):
        self.found: dict[str, Any] = {"machine": describe_machine(os.cpu_count() or 1, plan.device)}
        self._plan = plan
        self._console = console
        self._keep = keep
        self._begun = time.monotonic()
        self._tokenizer = AutoTokenizer.from_pretrained(DEMO / "checkpoint")
        rows = read_encoded(DEMO / "pairs.jsonl", self._tokenizer)
        self._pairs = make_pairs(rows, plan.pairs, PROMPT_SHARE, plan.max_length)
        self._rate = matrix_rate(plan.device)

    def run(self) -> None:
        """The parts, the most telling first."""
        self.found["matrix_rate"] = self._rate
        self.found["pairs"] = self._pairs.describe()
        for shape, adapter in product(self._plan.shapes, (False, True)):
            self._part(f"{shape} with a LoRA" if adapter else shape, partial(self._shape, shape, adapter))
        self._part("half precision", self._half_precision)
        self._part("tests", self._tests)

    def _part(self, name: str, part: Callable[[Found], None]) -> None:
        """One part; what keeps it from its end is in what it has found."""
        begun = time.monotonic()
        if begun - self._begun > self._plan.seconds:
            self.found[name] = {"error": "no time was left"}
            self._keep(self.found)
            return
        found: Found = {}
        self.found[name] = found
        try:
            part(found)
        except Exception as error:  # the others may still be had
            found["error"] = _said(error)
        found["seconds"] = round(time.monotonic() - begun, 1)
        self._console.print(f"{name}: {json.dumps(found)[:400]}")
        self._tidy()

    def _step(self, found: Found, name: str, step: Callable[[], Any]) -> None:
        """A piece of a part, which the others do not need."""
        try:
            found[name] = step()
        except Exception as error:
            found[name] = {"error": _said(error)}
        self._tidy()

    def _tidy(self) -> None:
        self._keep(self.found)
        gc.collect()
        if self._plan.device.type == "cuda":
            torch.cuda.empty_cache()

    def _shape(self, shape: str, adapter: bool, found: Found) -> None:
        model = self._model(shape, adapter)
        checkpoint = Checkpoint(shape, model, self._tokenizer, "policy", None, self._plan.max_length)
        tokens = self._plan.batch_tokens
        settings = GradientSettings(model=shape, device=str(self._plan.device), max_batch_tokens=tokens)
        engine = GradientEngine(checkpoint, settings)
        verdict = verify(engine)
        found |= {"refused": verdict.reasons, "layouts": {}}
        weights = sum(target.shape.weights for target in engine.modules.values())
        flops_per_token = 4 * _linear_weights(model) + 2 * weights * adapter
        # The check at load stops at the first that is exact; how the others are is a question here.
        layouts = [layout for layout in engine.layouts if layout.name not in verdict.reasons]
        for layout in layouts:
            self._step(found["layouts"], layout.name, partial(self._layout, engine, layout, flops_per_token))
        best = verdict.layouts[0]
        eight = settings.model_copy(update={"fp8": True})
        self._step(
            found["layouts"],
            f"{best.name}, {EIGHT_BITS}",
            lambda: self._layout(verified_engine(checkpoint, eight, [best, TWO_ROWS]), best, flops_per_token),
        )
        self._step(found, "agreement", lambda: _agreement(engine, layouts, self._pairs.pairs[:8]))
        self._step(found, "trace", lambda: trace(engine, best, self._pairs, self._plan))
        if not adapter:
            self._step(found, PLAIN, lambda: self._plain(model, list(engine.modules)))

    def _layout(self, engine: GradientEngine, layout: Layout, flops_per_token: float) -> dict[str, Any]:
        suits_all = all(map(layout.suits, self._pairs.pairs))
        chosen = [layout] if suits_all else [layout, TWO_ROWS]
        result = self._measured(partial(compressed_gradients, engine.restricted(chosen), self._pairs.pairs))
        return result | {"share": self._share(flops_per_token, result["seconds"])}

    def _plain(self, model: Any, targets: list[str]) -> dict[str, Any]:
        work = Work(self._pairs.pairs, batches(self._pairs.pairs, self._plan.batch_tokens))
        try:
            return self._measured(lambda: Baselines(model, targets, BETA).plain(work))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return {"error": "no memory for the gradients of all weights"}

    def _measured(self, run: Callable[[], object]) -> dict[str, Any]:
        peak = peak_bytes(run, self._plan.device)  # which warms it up
        seconds = []
        for _ in range(self._plan.rounds):
            begun = time.perf_counter()
            run()
            if self._plan.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begun)
        best = median(seconds)
        return {
            "seconds": round(best, 4),
            "pairs_per_s": round(len(self._pairs.pairs) / best, 2),
            "tokens_per_s": round(self._pairs.distinct_tokens / best, 1),
            "peak_mib": round(peak / 2**20),
        }

    def _share(self, flops_per_token: float, seconds: float) -> float | None:
        """Of the measured rate of matrix products: what the model has to do for each token once."""
        flops = flops_per_token * self._pairs.distinct_tokens
        return None if self._rate is None else round(flops / seconds / self._rate, 3)

    def _model(self, shape: str, adapter: bool) -> Any:
        config: Any = SHAPES[shape](len(self._tokenizer))
        if self._plan.is_small:
            for name, size in SMALL.items():
                if hasattr(config, name):
                    setattr(config, name, size)
            config.vocab_size = len(self._tokenizer)
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[: config.num_hidden_layers]
        torch.manual_seed(0)
        with self._plan.device:
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
            if adapter:
                from peft import LoraConfig, get_peft_model

                lora = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear", init_lora_weights=False)
                model = get_peft_model(model, lora, autocast_adapter_dtype=False)
        return model.eval().requires_grad_(False)

    def _half_precision(self, found: Found) -> None:
        given = DEMO / "checkpoint", DEMO / "pairs.jsonl", self._plan.pairs_per_language
        exact = scores(*given, "cpu", "float32")
        device = str(self._plan.device)
        for name, dtype in (("float32", "float32"), ("bfloat16", "bfloat16"), (EIGHT_BITS, "bfloat16")):
            own = scores(*given, device, dtype, fp8=name == EIGHT_BITS)
            found[f"Spearman {name}"] = round(float(spearmanr(exact, own).statistic), 5)

    def _tests(self, found: Found) -> None:
        left = max(30.0, self._plan.seconds - (time.monotonic() - self._begun))
        environment = os.environ | {"TEST_DEVICE": str(self._plan.device)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *self._plan.tests]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=left, check=False
            )
        except subprocess.TimeoutExpired:
            found["error"] = f"not done after {left:.0f} s"
            return
        lines = done.stdout.strip().splitlines() or [done.stderr[-400:]]
        found |= {"said": lines[-1]} if not done.returncode else {"error": lines[-1], "failed": lines[-30:-1]}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _linear_weights(model: Any) -> int:
    """Of the linear layers that every token goes through, but for the head."""
    head = model.get_output_embeddings()
    layers = (m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return sum(layer.weight.numel() for layer in layers)


def _agreement(engine: GradientEngine, layouts: Sequence[Layout], pairs: Sequence[EncodedPair]) -> dict[str, float]:
    """The least cosine between a pair's gradient in two rows and in each other layout."""
    rows = {
        layout.name: torch.from_numpy(engine.restricted([layout, TWO_ROWS]).compute(pairs).values) for layout in layouts
    }
    plain = rows[TWO_ROWS.name]
    return {
        name: round(float(torch.cosine_similarity(values, plain).min()), 6)
        for name, values in rows.items()
        if name != TWO_ROWS.name
    }


def trace(engine: GradientEngine, layout: Layout, pairs: PairSet, plan: Plan) -> dict[str, Any]:
    """One batch, as the profiler sees it: kernels, the part of the time in which none ran, and the ten longest."""
    group = layout.groups({i: layout.tokens(p) for i, p in enumerate(pairs.pairs)}, plan.batch_tokens, engine.costs)[0]
    batch = [pairs.pairs[i] for i in group]
    engine.batch_gradients(batch, layout)
    on_gpu = plan.device.type == "cuda"
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=kinds) as recorded:
        engine.batch_gradients(batch, layout)
        if on_gpu:
            torch.cuda.synchronize()
    wanted = "CUDA" if on_gpu else "CPU"
    events = [event for event in recorded.events() or [] if event.device_type.name == wanted]
    kernels = [event for event in events if on_gpu or event.name.startswith("aten::")]
    if not kernels:
        raise RuntimeError(
            "the profiler has recorded no kernel: on a GPU it needs CUPTI, and the right to use counters"
        )
    spans = sorted((e.time_range.start, e.time_range.end) for e in kernels)
    busy, end = 0.0, 0.0
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    by_name: Counter[str] = Counter()
    for event in kernels:
        by_name[event.name[:80]] += event.time_range.end - event.time_range.start
    whole = end - spans[0][0]
    return {
        "layout": layout.name,
        "pairs": len(batch),
        "kernels": len(kernels),
        "ms": round(whole / 1e3, 2),
        "idle": round(1 - busy / whole, 3),
        "longest_ms": {name: round(us / 1e3, 2) for name, us in by_name.most_common(10)},
    }


COLUMNS = ("pairs_per_s", "tokens_per_s", "share", "peak_mib")


def table(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# The engine on a GPU", "", *(f"- {name}: {value}" for name, value in found["machine"].items())]
    rate = found.get("matrix_rate")
    lines += [f"- bfloat16 products: {rate / 1e12:.0f} TFLOP/s"] if rate else []
    lines += ["", "| model | | pairs/s | tokens/s | share of the rate | peak MiB |", "| - | - | -: | -: | -: | -: |"]
    parts = {name: dict(part) for name, part in found.items() if name not in ("machine", "pairs", "matrix_rate")}
    for name, part in parts.items():
        measured = part.pop("layouts", {}) | {PLAIN: part.pop(PLAIN, None)}
        for what, result in measured.items():
            if result is not None:
                values = [str(result.get(column, "–")) for column in COLUMNS]
                lines.append(f"| {name} | {': '.join([what, *errors(result)])} | {' | '.join(values)} |")
    return "\n".join([*lines, "", *(f"- {name}: {json.dumps(part)}" for name, part in parts.items())]) + "\n"


def errors(found: Mapping[str, Any]) -> list[str]:
    """What has failed, in all that was found."""
    own = [str(found["error"])] if "error" in found else []
    return own + [error for part in found.values() if isinstance(part, dict) for error in errors(part)]


def main(
    output: Annotated[Path, typer.Option(help="Folder for gpu_check.json and gpu_check.md.")] = Path("build"),
    rehearse: Annotated[bool, typer.Option("--rehearse", help="On a CPU, in small.")] = False,
) -> None:
    """Runs all parts and writes what they have found, as soon as it is there."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        plan = REHEARSAL if rehearse else replace(ON_GPU, device=resolve_device("cuda"))
    except CheckpointError as error:
        sys.exit(f"there is no GPU to check: {error}; --rehearse takes every step on a CPU")
    console = Console(width=160)
    output.mkdir(parents=True, exist_ok=True)
    check = Check(plan, console, partial(write, output))
    try:
        check.run()
    finally:
        console.print(Markdown(table(check.found)))
    if failed := errors(check.found):
        sys.exit(f"failed: {', '.join(failed)}")


def write(output: Path, found: Mapping[str, Any]) -> None:
    """Puts what was found so far into a folder."""
    (output / "gpu_check.json").write_text(json.dumps(found, indent=2, default=str) + "\n")
    (output / "gpu_check.md").write_text(table(found))


if __name__ == "__main__":
    typer.run(main)
