"""Which architectures, adapters and quantisations are served, how, and how exactly: the table in docs/architectures.md.

    python benchmarks/architectures.py [--only NAME ...] [--output docs/architectures.md]

Each is a small random model of the real class, in float32 and in bfloat16, through the check that a worker makes before
it serves. What that lets through is compared with autograd on the weights, each sequence alone.
"""

import argparse
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from congrad_worker.checkpoints.adapters import base_model
from congrad_worker.checkpoints.checkpoint import Checkpoint, load
from congrad_worker.checkpoints.files import locate
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.errors import CheckpointError
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.gradients.modules import decoder_blocks
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings
from torch import Tensor, nn
from transformers import AutoTokenizer

from benchmarks import small_adapters, small_models
from benchmarks.architectures_page import page

TOKENIZER = Path(str(files("congrad"))) / "demo_data" / "checkpoint"
EXACT = 1e-5
"""A gradient in float32 that is further from autograd's is wrong, or three times further than autograd is from itself
where a token is added behind each sequence: that moves the last bits, and kernels that quantise what goes in make
hundredths of them."""

NARROWED = re.compile(r"CONGRAD_TARGET_MODULES='(\S+)'")


@dataclass(frozen=True)
class Row:
    """What became of one model in one precision."""

    kind: str
    name: str
    dtype: str
    outcome: str  # shared, two rows, refused, not built
    reason: str = ""
    coverage: float | None = None
    error: float | None = None
    rounding: float = 0.0  # autograd's error from itself

    @property
    def is_wrong(self) -> bool:
        """Whether what is served is not autograd's. In half precision rounding would hide that; its row says how."""
        return self.dtype == "float32" and self.error is not None and not self.error <= max(EXACT, 3 * self.rounding)


def pairs() -> list[EncodedPair]:
    """Longer than the windows of the small models; one with completions that begin alike."""
    drawn = np.random.default_rng(0).integers(5, 4000, (3, 60)).tolist()
    found = [
        EncodedPair(r[:p], r[p : p + c], r[p + c :], truncated=False)
        for r, p, c in zip(drawn, (30, 12, 40), (14, 40, 5), strict=True)
    ]
    return [*found[:2], replace(found[2], rejected_ids=found[2].chosen_ids[:2] + found[2].rejected_ids)]


def unique_weights(engine: GradientEngine) -> list[tuple[str, nn.Parameter]]:
    """The weights that gradients are taken of, each once, in the order in which they are in an exact gradient."""
    first = engine.projection.first_of_its_weight
    return [(name, target.weight) for name, target in engine.modules.items() if first(name) == name]


def truth(engine: GradientEngine, behind: int = 0) -> np.ndarray:
    """Autograd's gradients of the pairs' DPO losses in the weights, compressed as the engine does: ``[pairs, D]``.

    :param behind: so many tokens are computed behind each sequence, which in a causal model change nothing.
    """
    weights = unique_weights(engine)
    found = torch.zeros(len(pairs()), engine.projection.dim)
    for number, pair in enumerate(pairs()):
        for _, weight in weights:
            weight.requires_grad_(True)
        sides = [_log_prob(engine, pair.prompt_ids, ids, behind) for ids in (pair.chosen_ids, pair.rejected_ids)]
        margin = sides[0] - sides[1]
        loss = -F.logsigmoid(0.1 * (margin - margin.detach()))
        gradients = torch.autograd.grad(loss, [weight for _, weight in weights], allow_unused=True)
        engine.checkpoint.model.requires_grad_(False)
        for (name, _), gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                _compress(engine, name, found[number : number + 1], gradient)
    return found.numpy()


def _compress(engine: GradientEngine, name: str, target: Tensor, gradient: Tensor) -> None:
    engine.projection[name].compress(target, engine.modules[name].matrices(gradient)[None].float())


def _log_prob(engine: GradientEngine, prompt: list[int], completion: list[int], behind: int) -> Tensor:
    ids = torch.tensor([prompt + completion + completion[:behind]])
    log_probs: Tensor = engine.checkpoint.model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    end = len(prompt) + len(completion)
    return log_probs[len(prompt) - 1 : end - 1].gather(1, ids[0, len(prompt) : end, None]).sum()


def furthest(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error of a row, relative to it."""
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def coverage(engine: GradientEngine) -> float:
    """The share of the matrices in the decoder blocks, or of an adapter's there, that gradients are taken of.

    Matrices are parameters of two dimensions, or of three where it is not a convolution: not norms, biases, decays.
    """
    model = engine.checkpoint.model
    blocks = tuple(name + "." for name in decoder_blocks(model))
    convolutions = {id(p) for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d) for p in m.parameters()}
    is_adapted = model is not base_model(model)
    matrices = {
        id(p): p.numel()
        for name, p in model.named_parameters()
        if name.startswith(blocks) and p.ndim >= 2 and id(p) not in convolutions and p.is_floating_point()
        if not is_adapted or re.search(r"\.(lora_|modules_to_save)", name)
    }
    taken = {id(weight) for _, weight in unique_weights(engine)}
    return sum(size for key, size in matrices.items() if key in taken) / sum(matrices.values())


def rows_of(kind: str, name: str, make: Callable[[str], Checkpoint], options: dict[str, object]) -> Iterator[Row]:
    """In both precisions."""
    for dtype in ("float32", "bfloat16"):
        yield row_of(Row(kind, name, dtype, "refused"), make, options)


def row_of(about: Row, make: Callable[[str], Checkpoint], options: dict[str, object]) -> Row:
    """Serves one model, if the check allows it; what is refused is tried once more as the refusal says how."""
    try:
        checkpoint = make(about.dtype)
        checkpoint.model(input_ids=torch.tensor([pairs()[0].prompt_ids]), use_cache=False)
    except CheckpointError as error:
        return replace(about, reason=str(error))
    except Exception as error:
        return replace(about, outcome="not built", reason=f"{type(error).__name__}: {error}")
    given = {"model": "x", "device": "cpu", "projection": "exact", "unit_gradients": False}
    settings = GradientSettings.model_validate({**given, **options})
    try:
        engine = verified_engine(checkpoint, settings)
    except CheckpointError as error:
        reason = str(error).partition(" is not supported: ")[2] or str(error)
        narrowed = NARROWED.search(reason)
        if narrowed is None or "target_modules" in options:
            return replace(about, reason=reason)
        return replace(row_of(about, lambda _: checkpoint, {**options, "target_modules": narrowed[1]}), reason=reason)
    except Exception as error:
        return replace(about, outcome="crash", reason=f"{type(error).__name__}: {error}")
    found = engine.compute(pairs()).values
    expected = truth(engine)
    rounding = furthest(truth(engine, behind=1), expected) if about.kind == "quantised" else 0.0
    outcome = "shared" if engine.layouts != (TWO_ROWS,) else "two rows"
    off = furthest(found, expected)
    return replace(about, outcome=outcome, coverage=coverage(engine), error=off, rounding=rounding)


def in_memory(make: Callable[[], transformers.PreTrainedModel]) -> Callable[[str], Checkpoint]:
    """A checkpoint of a model that no folder has."""

    def of(dtype: str) -> Checkpoint:
        model = make().to(getattr(torch, dtype)).eval().requires_grad_(False)
        tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
        return Checkpoint("", model, tokenizer, reference="policy", reference_model=None, max_length=200)

    return of


def on_disk(model: Path, **options: object) -> Callable[[str], Checkpoint]:
    """A checkpoint as a worker loads it."""

    def of(dtype: str) -> Checkpoint:
        given = {"model": str(model), "device": "cpu", "dtype": dtype, "max_length": 200, **options}
        settings = GradientSettings.model_validate(given)
        return load(locate(settings), settings)

    return of


def all_rows(only: Sequence[str]) -> Iterator[Row]:
    """Every architecture, adapter and quantisation, or those whose names are asked for."""
    vocabulary = len(AutoTokenizer.from_pretrained(TOKENIZER))
    for name in small_models.names():
        if not only or name in only:
            yield from rows_of("architecture", name, in_memory(partial(small_models.small_model, name, vocabulary)), {})
    for name, make in small_models.multimodal_models(vocabulary).items():
        if not only or name in only:
            yield from rows_of("multimodal", name, in_memory(make), {})
    with tempfile.TemporaryDirectory() as folder:
        for case in small_adapters.cases(Path(folder), TOKENIZER, vocabulary):
            if not only or case.name in only:
                yield from rows_of(case.kind, case.name, on_disk(case.model, **case.options), {})


def main() -> None:
    """Prints each row as it is found, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows, begun = [], time.monotonic()
    for row in all_rows(options.only):
        rows.append(row)
        figures = (
            "" if row.error is None else f"coverage {row.coverage:.3f}, error {row.error:.1e} ({row.rounding:.1e})"
        )
        print(
            f"{time.monotonic() - begun:5.0f} s",
            *(row.kind, row.name, row.dtype, row.outcome, figures, row.reason[:300]),
            flush=True,
        )
    if options.output is not None:
        options.output.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
