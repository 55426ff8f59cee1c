"""`congrad demo`: the whole stack on a tiny checkpoint and a small real batch with planted faults."""

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console

from congrad.client import Client
from congrad.contract import wire
from congrad.local.stack import StackOptions, running_stack
from congrad.showing.tables import summary_table, worst_table

WORST = 5


def demo_pairs() -> list[dict[str, Any]]:
    """The pairs that the package ships. ``planted`` marks those whose chosen and rejected were swapped on purpose."""
    text = files("congrad").joinpath("demo_data", "pairs.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@dataclass(frozen=True)
class DemoResult:
    """What the service answered about the shipped pairs."""

    pairs: list[dict[str, Any]]
    answer: wire.FilterResult

    def dropped(self, planted: bool) -> tuple[int, int]:
        """How many of the pairs with, or without, a planted swapped label were dropped, and of how many."""
        decisions = zip(self.answer.decisions, self.pairs, strict=True)
        keep = [decision.keep for decision, pair in decisions if pair["planted"] == planted]
        return len(keep) - sum(keep), len(keep)


def run_demo(console: Console, log: Path) -> DemoResult:
    """Brings up Redis, workers and service, filters the shipped pairs through HTTP, and stops.

    :param console: where it says that it takes a while.
    :raises CongradError: the stack did not start, or the request failed; what the parts had to say is in ``log``.
    """
    pairs = demo_pairs()
    with (
        tempfile.TemporaryDirectory(prefix="congrad-demo-") as folder,
        as_file(files("congrad").joinpath("demo_data", "checkpoint")) as checkpoint,
    ):
        options = StackOptions(Path(folder), port=0, environment={"CONGRAD_MODEL": str(checkpoint)}, log=log)
        with ExitStack() as running:
            with console.status("Starting Redis, a gradients worker, a decide worker and the service …"):
                stack = running.enter_context(running_stack(options))
            client = running.enter_context(Client(stack.url))
            (answer,) = client.filter_batches([_conversation(pair) for pair in pairs])
    return DemoResult(pairs, answer)


def _conversation(pair: dict[str, Any]) -> dict[str, Any]:
    """The pair as messages: the demo's checkpoint has learnt its answers through the chat template."""
    return {
        "id": pair["id"],
        "language": pair["language"],
        "prompt": [{"role": "user", "content": pair["prompt"]}],
        "chosen": [{"role": "assistant", "content": pair["chosen"]}],
        "rejected": [{"role": "assistant", "content": pair["rejected"]}],
    }


def print_demo(console: Console, demo: DemoResult) -> None:
    """Prints what came out: tables by language and of the worst conflicts, and what became of the planted faults."""
    answer = demo.answer
    console.print(
        f"{len(demo.pairs)} pairs in {len(answer.direction.languages)} languages, scored by "
        f"{answer.direction.checkpoint!r} in {answer.timing.total_s:.1f} s "
        f"(gradients {answer.timing.gradients_s:.1f} s, decision {answer.timing.decide_s:.2f} s)"
    )
    console.print(summary_table(answer.summary))
    texts = {pair["id"]: (pair["prompt"], pair["chosen"], pair["rejected"]) for pair in demo.pairs}
    console.print(worst_table(answer.decisions, texts, WORST))
    for planted, kind in ((True, "pairs with a planted swapped label"), (False, "clean pairs")):
        dropped, count = demo.dropped(planted)
        console.print(f"Dropped of the {count} {kind}: {dropped} ({100 * dropped / count:.0f} %)")
