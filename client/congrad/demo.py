"""`congrad demo`: the whole stack on a tiny checkpoint and a small real batch with planted faults."""

import json
import tempfile
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console

from congrad import wire
from congrad.client import Client
from congrad.stack import StackOptions, running_stack
from congrad.tables import summary_table, worst_table

WORST = 5


def demo_pairs() -> list[dict[str, Any]]:
    """The pairs that the package ships. ``planted`` marks those whose chosen and rejected were swapped on purpose."""
    text = files("congrad").joinpath("demo_data", "pairs.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def run_demo(console: Console, log: Path) -> None:
    """Brings up Redis, workers and service, filters the shipped pairs through HTTP, prints what came out, stops.

    :raises CongradError: the stack did not start, or the request failed; what the parts had to say is in ``log``.
    """
    pairs = demo_pairs()
    with (
        tempfile.TemporaryDirectory(prefix="congrad-demo-") as folder,
        as_file(files("congrad").joinpath("demo_data", "checkpoint")) as checkpoint,
    ):
        options = StackOptions(Path(folder), port=0, environment={"CONGRAD_MODEL": str(checkpoint)}, log=log)
        with console.status("Starting Redis, a gradients worker, a decide worker and the service …"):
            running = running_stack(options)
            stack = running.__enter__()
        try:
            with Client(stack.url) as client:
                result = client.filter([_conversation(pair) for pair in pairs])
        finally:
            running.__exit__(None, None, None)
    _print(console, pairs, result)


def _conversation(pair: dict[str, Any]) -> dict[str, Any]:
    """The pair as messages: the demo's checkpoint has learnt its answers through the chat template."""
    return {
        "id": pair["id"],
        "language": pair["language"],
        "prompt": [{"role": "user", "content": pair["prompt"]}],
        "chosen": [{"role": "assistant", "content": pair["chosen"]}],
        "rejected": [{"role": "assistant", "content": pair["rejected"]}],
    }


def _print(console: Console, pairs: Sequence[dict[str, Any]], result: wire.FilterResult) -> None:
    languages = len(result.direction.languages)
    console.print(
        f"{len(pairs)} pairs in {languages} languages, scored by {result.direction.checkpoint!r} in "
        f"{result.timing.total_s:.1f} s (gradients {result.timing.gradients_s:.1f} s, decision "
        f"{result.timing.decide_s:.2f} s)"
    )
    console.print(summary_table(result.decisions))
    texts = {pair["id"]: (pair["prompt"], pair["chosen"], pair["rejected"]) for pair in pairs}
    console.print(worst_table(result.decisions, texts, WORST))
    planted = [d for d, pair in zip(result.decisions, pairs, strict=True) if pair["planted"]]
    clean = [d for d, pair in zip(result.decisions, pairs, strict=True) if not pair["planted"]]
    console.print(f"Dropped of the {len(planted)} pairs with a planted swapped label: {_dropped(planted)}")
    console.print(f"Dropped of the {len(clean)} clean pairs: {_dropped(clean)}")


def _dropped(decisions: Sequence[wire.Decision]) -> str:
    dropped = sum(not decision.keep for decision in decisions)
    return f"{dropped} ({100 * dropped / len(decisions):.0f} %)"
