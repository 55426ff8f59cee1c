"""The page about architectures: one line for each model, with both precisions in it."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import peft
import torch
import transformers

if TYPE_CHECKING:
    from benchmarks.architectures import Row

HEAD = """# Architectures

Which models a worker serves, how, and how exactly. This page is written by

```text
python benchmarks/architectures.py --output docs/architectures.md
```

with transformers {transformers}, PEFT {peft} and torch {torch}, on a CPU. Each row is a small random model of the real
class, in float32 and in bfloat16, through the check that a worker makes of every checkpoint before it serves: hooks
against autograd's weight gradients of the same backward pass, module by module; sequences of a batch apart to the last
bit; log-probabilities and hidden states as those of each sequence alone, up to the longest that is served.

- **how**: `shared` computes the prompt once for both completions, `two rows` twice. Where the precisions differ, both
  are said.
- **coverage**: the share of the matrices in the decoder blocks, or of the adapter's there, that gradients are taken
  of. What an adapter has of embeddings and the head is not among them; `coverage` in `GET /checkpoints` counts it as
  left out.
- **error**: of the uncompressed gradients in float32 from autograd's on the weights, each sequence alone; the worst of
  three pairs. A kernel that quantises what goes in has autograd differ from itself by hundredths, where a token is
  added behind each sequence: its notes say by how much.
- **notes**: why it is refused, in the worker's own words. Where these name a `CONGRAD_TARGET_MODULES`, the rest of the
  model is served with it, and the figures are those of the rest.

{summary}

A class that is not here is checked in the same way when it is loaded: what is not exact is refused.
"""

TITLES = {
    "architecture": "Causal language models",
    "multimodal": "Multimodal models, for rows of text",
    "adapter": "Adapters",
    "quantised": "Quantised bases",
}


def page(rows: Sequence["Row"]) -> str:
    """The page, in Markdown."""
    served = {row.name for row in rows if row.error is not None}
    tried = {row.name for row in rows if row.outcome != "not built"}
    wrong = sorted({row.name for row in rows if row.is_wrong or row.outcome == "crash"})
    summary = (
        f"{len(tried)} models: {len(served)} served, {len(tried - served)} refused; served and wrong, or crashed: "
    )
    versions = {"transformers": transformers.__version__, "peft": peft.__version__, "torch": torch.__version__}
    parts = [HEAD.format(summary=summary + (", ".join(wrong) or "none") + ".", **versions)]
    for kind, title in TITLES.items():
        of_kind = [row for row in rows if row.kind == kind and row.outcome != "not built"]
        if of_kind:
            lines = [_line(list(of_name)) for _, of_name in groupby(of_kind, key=lambda row: row.name)]
            parts.append(
                f"## {title}\n\n| | how | coverage | error | notes |\n|---|---|---:|---:|---|\n" + "\n".join(lines)
            )
    return "\n".join(parts) + "\n"


def _line(rows: Sequence["Row"]) -> str:
    outcomes = dict.fromkeys(row.outcome for row in rows)
    how = next(iter(outcomes)) if len(outcomes) == 1 else ", ".join(f"{row.outcome} ({row.dtype})" for row in rows)
    first = rows[0]
    share = "" if first.coverage is None else f"{first.coverage:.3f}"
    error = "" if first.error is None else f"{first.error:.0e}"
    # Of two that differ in their figures only, the first.
    notes = "; ".join(
        {re.sub(r"[\d.]+", "", row.reason): _note(row.reason) for row in reversed(rows) if row.reason}.values()
    )
    if first.rounding:
        notes = f"autograd from itself: {first.rounding:.0e}"
    return f"| {first.name} | {how} | {share} | {error} | {notes} |"


def _note(reason: str) -> str:
    """A reason without what is other in each run, and what Markdown would take for its own."""
    text = re.sub(r"(?<==)/\S+/", "", reason).replace("|", "\\|").replace("\n", " ")
    return re.sub(r"'(\^\S+)'", r"`\1`", text)[:400]
