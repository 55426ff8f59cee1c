"""The compressions whose fidelity is measured, and what each costs."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from congrad_worker.gradients.layouts.layout import summed_products
from congrad_worker.gradients.projection import LinearShape, Projection
from torch.utils.flop_counter import FlopCounterMode

Kind = Literal["kronecker", "flora", "count sketch"]

RANKS = (8, 16, 32, 64, 128)
DIMS = (1024, 4096, 16_384, 65_536)
RANK, DIM = 128, 16_384
"""The defaults, through which the kinds other than `kronecker` are followed."""

CPU, META = torch.device("cpu"), torch.device("meta")
BATCH_PAIRS, BATCH_TOKENS = 8, 512
"""A batch that is timed: as many tokens as the engine's on a CPU."""
TIMED = 5


@dataclass(frozen=True)
class Compression:
    """One kind with its sizes. ``rank`` is None where nothing but the sketch is done, to the gradient itself."""

    kind: Kind
    rank: int | None
    dim: int

    def projection(self, shapes: Mapping[str, LinearShape], seed: int, device: torch.device) -> Projection:
        """The project's own."""
        kind: Literal["kronecker", "flora"] = "flora" if self.kind == "flora" else "kronecker"
        # A side with no more dimensions than k is left as it is.
        rank = self.rank or max(max(shape.d_in, shape.d_out) for shape in shapes.values())
        return Projection(kind, shapes, rank, self.dim, seed, device, torch.float32)


def compressions() -> list[Compression]:
    """`kronecker` in all sizes, the others at the default k or the default D."""
    cross = [(k, d) for k in RANKS for d in DIMS if k == RANK or d == DIM]
    return [
        *(Compression("kronecker", k, d) for k in RANKS for d in DIMS),
        *(Compression("flora", k, d) for k, d in cross),
        *(Compression("count sketch", None, d) for d in DIMS),
    ]


@dataclass(frozen=True)
class Cost:
    """What a compression costs beside the gradients.

    ``flops`` and ``flops_large`` are its FLOPs over those of the layers' frozen forward and activation backward,
    4 d_in d_out a token and layer, for the model at hand and for a large one; the sketch, once a pair, is not counted.
    ``seconds`` is what it takes for one batch of the model at hand, the sketch included.
    """

    flops: float
    flops_large: float
    seconds: float


def cost(compression: Compression, counts: Counter[LinearShape], large: Counter[LinearShape]) -> Cost:
    """By the numbers of layers of each shape."""
    seconds = sum(count * _best(_step(compression, shape, CPU)) for shape, count in counts.items())
    return Cost(_flops_share(compression, counts), _flops_share(compression, large), seconds)


def _flops_share(compression: Compression, counts: Counter[LinearShape]) -> float:
    if compression.rank is None:
        return 0.5  # the product of gradients and activations alone: 2 d_in d_out
    total = 0
    for shape, count in counts.items():
        step = _step(compression, shape, META)
        with FlopCounterMode(display=False) as counter:
            step()
        total += count * counter.get_total_flops()
    layers = sum(4 * shape.d_in * shape.d_out * count for shape, count in counts.items())
    return total / (BATCH_PAIRS * BATCH_TOKENS * layers)


def layer_seconds(counts: Counter[LinearShape]) -> float:
    """Seconds of the layers' own two products for the same batch."""
    return sum(count * _best(_products(shape)) for shape, count in counts.items())


def _step(compression: Compression, shape: LinearShape, device: torch.device) -> Callable[[], None]:
    """What the hooks do with one layer and one batch."""
    whole = compression.projection({"layer": shape}, 0, device)
    module = whole["layer"]
    activations = torch.randn(BATCH_PAIRS, BATCH_TOKENS, shape.d_in, device=device)
    deltas = torch.randn(BATCH_PAIRS, BATCH_TOKENS, shape.d_out, device=device)
    target = torch.zeros(BATCH_PAIRS, whole.dim, device=device)

    def step() -> None:
        sides = module.project_out(deltas), module.project_in(activations)
        module.add(target, summed_products(*sides))

    return step


def _products(shape: LinearShape) -> Callable[[], None]:
    weight = torch.randn(shape.d_out, shape.d_in)
    activations = torch.randn(BATCH_PAIRS * BATCH_TOKENS, shape.d_in)
    deltas = torch.randn(BATCH_PAIRS * BATCH_TOKENS, shape.d_out)

    def run() -> None:
        torch.matmul(activations, weight.T)
        torch.matmul(deltas, weight)

    return run


def _best(step: Callable[[], None]) -> float:
    seconds = []
    for _ in range(1 + TIMED):  # the first warms up
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
