"""What a GPU would have to do for one batch: the operations of the engine on PyTorch's meta device, which has shapes
and no numbers, priced by a table of one card. Runs anywhere, and takes no GPU's place.

    python benchmarks/operations.py [--shape llama3-8b] [--output docs/benchmarks]

Prints, for each layout, the kernels of a batch, what the host needs to launch them, what the card needs to run them,
and which share of its rate of matrix products that is; and writes it to docs/benchmarks.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.counted import H100, META, AsOnGPU, Card, Count, Operations, with_liger_kernel
from benchmarks.shapes import SHAPES

DEMO = Path(str(files("congrad"))) / "demo_data"
LAYOUTS: tuple[Layout, ...] = (TWO_ROWS, SHARED_ROW, PACKED_ROW)


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


class Subject:
    """A shape on the meta device, in bfloat16.

    :param adapter: whether it has a LoRA of rank 16 on all linear layers, in float32 or in the dtype of its base.
    :param has_liger: whether there are the kernels of Liger-Kernel.
    """

    def __init__(self, shape: str, adapter: str = "", has_liger: bool = False):
        tokenizer = AutoTokenizer.from_pretrained(DEMO / "checkpoint")
        with META:
            config = SHAPES[shape](len(tokenizer))
            model: Model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
            if adapter:
                model = _adapted(model, is_float32=adapter == "float32")
        model.eval().requires_grad_(False)
        checkpoint = Checkpoint(shape, model, tokenizer, "policy", None, 8192)
        self._has_liger = has_liger
        self._operations: list[Operations] = []
        with self._kernels():
            self._engine = GradientEngine(checkpoint, GradientSettings(model=shape, device="cpu"))

    def count(self, lengths: Lengths, layout: Layout, card: Card) -> Count:
        """One batch."""
        pairs = lengths.encoded()
        segments = PACKED_ROW.batch(pairs, 0).segments
        operations = Operations(card, sum(s.length * s.trunk + s.length**2 // 2 for s in segments))
        self._operations.append(operations)
        with self._kernels(), AsOnGPU(operations), operations:
            self._engine.batch_gradients(pairs, layout)
        return operations.count

    def _kernels(self) -> AbstractContextManager[None]:
        return with_liger_kernel(self._operations) if self._has_liger else nullcontext()


def _adapted(model: Any, is_float32: bool) -> Model:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear")
    adapted = get_peft_model(model, config)  # on this device PEFT leaves float32 as it is
    return adapted if is_float32 else adapted.to(torch.bfloat16)


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


@dataclass(frozen=True)
class Case:
    """What is counted."""

    layout: Layout
    adapter: str = ""
    has_liger: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Of gradients and layout."""
        weights = f"LoRA in {self.adapter}" if self.adapter else "all weights"
        return weights, self.layout.name + (", Liger-Kernel" if self.has_liger else "")


CASES = (
    *(Case(layout) for layout in LAYOUTS),
    Case(PACKED_ROW, has_liger=True),
    Case(PACKED_ROW, "float32"),
    Case(PACKED_ROW, "bfloat16"),
    Case(PACKED_ROW, "bfloat16", has_liger=True),
)


def rows_of(shape: str, card: Card, console: Console) -> list[Row]:
    """All cases, of pairs of each length."""
    found = [row for case in CASES for row in _rows(shape, case, card, console)]
    return sorted(found, key=lambda row: row.pairs != LENGTHS[0].name)


def _rows(shape: str, case: Case, card: Card, console: Console) -> Iterator[Row]:
    subject = Subject(shape, case.adapter, case.has_liger)
    for lengths in LENGTHS:
        with console.status(f"{lengths.name}, {', '.join(case.names)}"):
            count = subject.count(lengths, case.layout, card)
        times = 1e3 * count.host_s(card), 1e3 * count.device_s
        yield Row(lengths.name, *case.names, count.kernels, *times, count.share(card))


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
        "",
        "What PyTorch's kernels on a GPU do at once is counted as one although the meta device has it in pieces: its",
        "attention of whole rows, and RMSNorm. So are the kernels of Liger-Kernel where a row names it, rotary",
        "positions of queries and keys and the product in a gated MLP: a worker on a GPU takes them where",
        "`liger-kernel` is installed beside it and computes the same on random numbers at load. They have not run here",
        "either.",
    ]
    return "\n".join(lines) + "\n"


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "llama3-8b",
    output: Annotated[Path, typer.Option(help="Folder for the JSON and Markdown files.")] = Path("docs/benchmarks"),
) -> None:
    """Counts all layouts and writes the report."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape} is none of {', '.join(SHAPES)}", param_hint="--shape")
    output.mkdir(parents=True, exist_ok=True)
    console = Console(width=max(Console().width, 120))
    rows = rows_of(shape, H100, console)
    text = page(shape, H100, rows)
    console.print(Markdown(text))
    (output / "operations.md").write_text(text)
    said = {"shape": shape, "card": asdict(H100), "rows": [asdict(row) for row in rows]}
    (output / "operations.json").write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
