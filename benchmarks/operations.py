"""What a GPU would have to do for one batch: the operations of the engine on PyTorch's meta device, which has shapes
and no numbers, priced by a table of one card. Runs anywhere, and takes no GPU's place.

    python benchmarks/operations.py [--shape llama3-8b] [--output docs/benchmarks]

Prints, for each layout, the kernels of a batch, what the host needs to launch them, what the card needs to run them,
and which share of its rate of matrix products that is; and writes it to docs/benchmarks.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.nn.functional as F
import typer
from congrad_worker.checkpoints.adapters import Model
from congrad_worker.checkpoints.checkpoint import Checkpoint
from congrad_worker.checkpoints.pairs import EncodedPair
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.layouts.layout import Layout
from congrad_worker.gradients.layouts.packing.packed_row import PACKED_ROW
from congrad_worker.gradients.layouts.shared_row import SHARED_ROW
from congrad_worker.gradients.layouts.two_rows import TWO_ROWS
from congrad_worker.settings import GradientSettings
from rich.console import Console
from rich.markdown import Markdown
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.shapes import SHAPES

DEMO = Path(str(files("congrad"))) / "demo_data"
META = torch.device("meta")

LAYOUTS: tuple[Layout, ...] = (TWO_ROWS, SHARED_ROW, PACKED_ROW)

ALLOCATIONS = ("empty", "new_empty", "detach", "lift_fresh", "alias", "_unsafe_view", "resolve")
"""Operations that are no views and launch nothing either."""

GATHERS = ("index_select", "index", "embedding", "gather")
"""Operations that read of their first input as much as they put out."""


@dataclass(frozen=True)
class Card:
    """What a card reaches, and not what its data sheet says."""

    name: str
    matrix_rate: float  # FLOP/s of large bfloat16 products
    vector_rate: float  # FLOP/s of float32 products, which have no matrix units
    bandwidth: float  # bytes/s
    kernel_s: float  # the shortest that a kernel takes
    launch_s: float  # of the host, for an operation in eager mode with autograd and a hook here and there


H100 = Card("H100 SXM", matrix_rate=7.0e14, vector_rate=5.0e13, bandwidth=2.8e12, kernel_s=2.5e-6, launch_s=6e-6)


@dataclass(frozen=True)
class Lengths:
    """Pairs of one batch."""

    name: str
    pairs: int
    prompt: int
    completion: int

    def encoded(self) -> list[EncodedPair]:
        """Token ids that stand for any: of the two completions none is the beginning of the other."""
        chosen, rejected = ([token] * self.completion for token in (6, 7))
        return [EncodedPair([5] * self.prompt, chosen, rejected, truncated=False) for _ in range(self.pairs)]


LENGTHS = (Lengths("8 pairs of 500 + 262 + 262", 8, 500, 262), Lengths("64 pairs of 64 + 32 + 32", 64, 64, 32))


@dataclass
class Count:
    """Operations of a batch and what they cost."""

    kernels: float = 0
    device_s: float = 0
    linear_flops: float = 0
    by_name: dict[str, float] = field(default_factory=dict)  # seconds

    def __add__(self, other: "Count") -> "Count":
        return self._with(other, 1)

    def times(self, factor: float) -> "Count":
        """Every number of it."""
        return Count()._with(self, factor)

    def _with(self, other: "Count", factor: float) -> "Count":
        names = dict(self.by_name)
        for name, seconds in other.by_name.items():
            names[name] = names.get(name, 0.0) + seconds * factor
        return Count(
            self.kernels + factor * other.kernels,
            self.device_s + factor * other.device_s,
            self.linear_flops + factor * other.linear_flops,
            names,
        )

    def add(self, name: str, seconds: float, kernels: int = 1) -> None:
        """An operation."""
        self.kernels += kernels
        self.device_s += seconds
        self.by_name[name] = self.by_name.get(name, 0.0) + seconds

    def host_s(self, card: Card) -> float:
        """What launching takes."""
        return self.kernels * card.launch_s

    def seconds(self, card: Card) -> float:
        """Of a batch among others: host and card work beside one another."""
        return max(self.device_s, self.host_s(card))

    def share(self, card: Card) -> float:
        """Of the rate of matrix products, counting products of frozen weights alone."""
        return self.linear_flops / card.matrix_rate / self.seconds(card)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call] # its base has no types
    """Counts what is dispatched to the device.

    :param area: of scores that one attention call for all pairs has, queries times keys, where it is that.
    """

    def __init__(self, card: Card, area: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = Count()
        self._card = card
        self._area = area

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        if any(tensor.device == META for tensor in tensors) and not self._is_free(func):
            self._add(func, args, result)
        return result

    def _is_free(self, func: Any) -> bool:
        name = func._schema.name.partition("::")[2]
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        return is_view or name.startswith(ALLOCATIONS)

    def _add(self, func: Any, args: Any, result: Any) -> None:
        name = func._schema.name.partition("::")[2]
        flops = self._flops(func, name, args, result)
        inputs = [t for t in torch.utils._pytree.tree_leaves(args) if isinstance(t, Tensor)]
        outputs = [t for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, Tensor)]
        read = outputs if name.startswith(GATHERS) else inputs
        moved = sum(t.numel() * t.element_size() for t in (*read, *outputs))
        is_float32 = bool(flops) and inputs[0].dtype == torch.float32
        rate = self._card.vector_rate if is_float32 else self._card.matrix_rate
        seconds = max(flops / rate, moved / self._card.bandwidth, self._card.kernel_s)
        self.count.add(name, seconds)
        if name in ("mm", "addmm") and not is_float32:
            self.count.linear_flops += flops

    def _flops(self, func: Any, name: str, args: Any, result: Any) -> float:
        if "varlen_attn" in name:
            heads, size = args["backward" in name].shape[-2:]  # of the queries, behind their gradient
            return float((10 if "backward" in name else 4) * heads * size * self._area)
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            return 0.0
        # One of its overloads has a dtype besides.
        return float(formula(*(args[:2] if name in ("mm", "bmm") else args), out_val=result))

    def attention(self, query: Tensor, key: Tensor, is_causal: bool, backward: bool) -> None:
        """One fused kernel of PyTorch's attention, or the two of its backward pass."""
        rows, heads, queries, size = query.shape
        area = queries * key.shape[2] / (2 if is_causal else 1)
        flops = (10 if backward else 4) * rows * heads * size * area
        seconds = max(flops / (0.6 * self._card.matrix_rate), self._card.kernel_s)
        self.count.add("attention", seconds, kernels=2 if backward else 1)

    def elementwise(self, name: str, like: Tensor, times: int) -> None:
        """One kernel that reads and writes so many tensors like this one."""
        seconds = max(times * like.numel() * like.element_size() / self._card.bandwidth, self._card.kernel_s)
        self.count.add(name, seconds)


class AsOnGPU(TorchFunctionMode):
    """PyTorch's attention and its RMSNorm are one kernel each on a GPU, and many operations on the meta device; and
    transformers asks whether rows hold several sequences, which those that are not told so do not."""

    def __init__(self, operations: Operations):
        super().__init__()
        self._operations = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__bool__ and args[0].device == META:
            return True
        if func is F.rms_norm and args[0].device == META:
            return _FusedNorm.apply(args[0], self._operations)  # type: ignore[no-untyped-call]
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        is_causal = bool((kwargs or {}).get("is_causal"))
        return _Fused.apply(*args[:3], is_causal, self._operations)  # type: ignore[no-untyped-call]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, is_causal: bool, operations: Operations) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.is_causal, ctx.operations = is_causal, operations
        operations.attention(query, key, is_causal, backward=False)
        return query.new_empty(*query.shape[:-1], value.shape[-1])

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        ctx.operations.attention(query, key, ctx.is_causal, backward=True)
        return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape), None, None


class _FusedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, operations: Operations) -> Tensor:
        ctx.operations = operations
        operations.elementwise("rms_norm", inputs, times=2)
        return torch.empty_like(inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.operations.elementwise("rms_norm_backward", gradient, times=3)
        return torch.empty_like(gradient), None


class Subject:
    """A shape on the meta device, in bfloat16, with so many of its layers.

    :param adapter: whether it has a LoRA of rank 16 on all linear layers, in float32 or in the dtype of its base.
    """

    def __init__(self, shape: str, layers: int, adapter: str = ""):
        tokenizer = AutoTokenizer.from_pretrained(DEMO / "checkpoint")
        config = SHAPES[shape](len(tokenizer))
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
        with META:
            model: Model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
            if adapter:
                model = _adapted(model, is_float32=adapter == "float32")
        model.eval().requires_grad_(False)
        checkpoint = Checkpoint(shape, model, tokenizer, "policy", None, 8192)
        self._engine = GradientEngine(checkpoint, GradientSettings(model=shape, device="cpu"))

    def count(self, lengths: Lengths, layout: Layout, card: Card) -> Count:
        """One batch."""
        pairs = lengths.encoded()
        segments = PACKED_ROW.batch(pairs, 0).segments
        operations = Operations(card, sum(s.length * s.trunk + s.length**2 // 2 for s in segments))
        with AsOnGPU(operations), operations:
            self._engine.batch_gradients(pairs, layout)
        return operations.count


def _adapted(model: Any, is_float32: bool) -> Model:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear")
    adapted = get_peft_model(model, config)  # on this device PEFT leaves float32 as it is
    return adapted if is_float32 else adapted.to(torch.bfloat16)


def counted(shape: str, lengths: Lengths, layout: Layout, card: Card, adapter: str = "") -> Count:
    """A batch on all layers of a shape: they are alike, so that two of its depths tell those of any.

    Where layers alternate, as Gemma 2's do, two are the unit.
    """
    unit = 2
    layers: int = SHAPES[shape](0).num_hidden_layers
    few, more = (Subject(shape, unit * n, adapter).count(lengths, layout, card) for n in (1, 2))
    return few + (more + few.times(-1)).times(layers / unit - 1)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    pairs: str
    what: str
    layout: str
    kernels: int
    host_ms: float
    device_ms: float
    share: float


def rows_of(shape: str, card: Card, console: Console) -> list[Row]:
    """All layouts without an adapter; packed rows with one."""
    cases = [("", layout) for layout in LAYOUTS] + [("float32", PACKED_ROW), ("bfloat16", PACKED_ROW)]
    found = []
    for lengths in LENGTHS:
        for adapter, layout in cases:
            what = f"LoRA in {adapter}" if adapter else "all weights"
            with console.status(f"{lengths.name}, {what}, {layout.name}"):
                count = counted(shape, lengths, layout, card, adapter)
            times = 1e3 * count.host_s(card), 1e3 * count.device_s
            found.append(Row(lengths.name, what, layout.name, round(count.kernels), *times, count.share(card)))
    return found


def page(shape: str, card: Card, rows: Sequence[Row]) -> str:
    """The report as Markdown."""
    version = torch.__version__.split("+")[0]
    lines = [
        f"# Operations of a batch: {shape} on a GPU, counted",
        "",
        f"Nothing here was timed. The operations are those of the engine on the meta device of PyTorch {version};",
        f"the seconds are computed for an {card.name} at {card.matrix_rate / 1e12:.0f} TFLOP/s of bfloat16",
        f"products, {card.bandwidth / 1e12:.1f} TB/s, and {card.launch_s * 1e6:.0f} µs of the host for each kernel.",
        "",
        "    python benchmarks/operations.py",
        "",
        "| pairs | gradients of | layout | kernels | host ms | card ms | share of the matrix rate |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        numbers = f"{row.kernels:,} | {row.host_ms:,.0f} | {row.device_ms:,.0f} | {row.share:.0%}"
        lines.append(f"| {row.pairs} | {row.what} | {row.layout} | {numbers} |")
    lines += [
        "",
        "The longer of host and card is what a batch takes among others. The share is that of the products with frozen",
        "weights, and with the adapter's where there is one, over what the card could do in that time.",
    ]
    return "\n".join(lines) + "\n"


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "llama3-8b",
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Counts all layouts and writes the report."""
    console = Console(width=max(Console().width, 120))
    rows = rows_of(shape, H100, console)
    text = page(shape, H100, rows)
    console.print(Markdown(text))
    (output / "operations.md").write_text(text)
    said = {"shape": shape, "card": asdict(H100), "rows": [asdict(row) for row in rows]}
    (output / "operations.json").write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
