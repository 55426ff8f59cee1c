"""Gradients of the parts of a model in one pass, each with its own sketch.

The sketch of some modules' gradients is the sum of the modules' sketches. So a pass that keeps a sketch for the
attention and for the MLP of each eighth of the layers gives those of every choice among them, to the bit of a sum the
same as a worker with that choice in CONGRAD_TARGET_MODULES computes.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.gradients.collector import Collector
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.projection import ModuleProjection, Projection
from congrad_worker.settings import GradientSettings
from torch import Tensor

DEPTHS = 8
KINDS = ("attention", "mlp")
PARTS = DEPTHS * len(KINDS)
LAYERS: dict[str, tuple[float, tuple[str, ...]]] = {
    "all layers": (0, KINDS),
    "MLP": (0, ("mlp",)),
    "attention": (0, ("attention",)),
    "upper half": (1 / 2, KINDS),
    "upper half, MLP": (1 / 2, ("mlp",)),
    "upper quarter": (3 / 4, KINDS),
    "upper eighth": (7 / 8, KINDS),
}
"""Choices of layers: the share of the layers that is left out below, and the kinds."""

_BLOCK = re.compile(r"\.(\d+)\.")


def part_of(module: str, layers: int) -> int:
    """The part that a module of a decoder block belongs to."""
    found = _BLOCK.search(module)
    assert found is not None
    return int(found[1]) * DEPTHS // layers * len(KINDS) + ("mlp" in module)


def parts_in(choice: str) -> list[int]:
    """The parts of one of `LAYERS`."""
    below, kinds = LAYERS[choice]
    depths = range(round(below * DEPTHS), DEPTHS)
    return [depth * len(KINDS) + KINDS.index(kind) for depth in depths for kind in kinds]


def choices(layers: int) -> list[str]:
    """Those of `LAYERS` that are something in a model of so many layers."""
    depths = {i * DEPTHS // layers for i in range(layers)}
    return [choice for choice, (below, _) in LAYERS.items() if max(depths) >= below * DEPTHS]


def pattern(choice: str, layers: int) -> str | None:
    """One of `LAYERS` as CONGRAD_TARGET_MODULES; None for all of them."""
    below, kinds = LAYERS[choice]
    first = next(i for i in range(layers) if i * DEPTHS // layers >= below * DEPTHS)
    blocks = "|".join(map(str, range(first, layers)))
    kind = "" if kinds == KINDS else "mlp" if kinds == ("mlp",) else "self_attn"
    return None if not first and not kind else rf"\.({blocks if first else '[0-9]+'})\.{kind}"


class _Part(ModuleProjection):
    """A module's projection whose sketch lies among those of other parts."""

    def __init__(self, whole: ModuleProjection, columns: slice):
        self._whole, self._columns = whole, columns
        self.side_in, self.project_in, self.project_out = whole.side_in, whole.project_in, whole.project_out
        self.separation = whole.separation

    def add(self, target: Tensor, inner: Tensor) -> None:
        self._whole.add(target[:, self._columns], inner)


class PartedProjection(Projection):
    """One with a sketch of D numbers for each part: ``[pairs, parts * D]``."""

    def __init__(self, parts: Mapping[str, int], *arguments: Any):
        super().__init__(*arguments)
        size = self.dim
        self.dim = size * PARTS
        self._modules = {
            name: _Part(module, slice(parts[name] * size, (parts[name] + 1) * size))
            for name, module in self._modules.items()
        }


class PartedEngine(GradientEngine):
    """Computes ``[pairs, parts * D]``: see `PARTS`."""

    def __init__(self, checkpoint: Checkpoint, settings: GradientSettings):
        super().__init__(checkpoint, settings)
        layers = checkpoint.model.config.get_text_config().num_hidden_layers
        self.projection = PartedProjection(
            {name: part_of(name, layers) for name in self.modules},
            settings.projection,
            {name: target.shape for name, target in self.modules.items()},
            settings.projection_rank,
            settings.projection_dim,
            settings.seed,
            torch.device("cpu"),
            checkpoint.dtype,
        )
        self._collector = Collector(self.modules, self.projection)
