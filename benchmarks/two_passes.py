"""What two passes over a file take up in Redis: what the command says beforehand, and what is seen.

    make bench-two-passes              # python benchmarks/two_passes.py [--pairs 20000]

The stack is the product's, on the shipped checkpoint or that of `--model`; the pairs are the shipped ones with a number
behind each prompt, so that no two are the same.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).parents[1]))

import redis
import typer
from congrad.local.demo import demo_pairs
from congrad.local.redis_server import free_port
from congrad.local.stack import Stack, StackOptions, running_stack

ROOT = Path(__file__).parents[1]
TICK_S = 0.05


def main(
    pairs: Annotated[int, typer.Option(help="Rows of the file.")] = 20_000,
    model: Annotated[Path, typer.Option(help="Checkpoint.")] = ROOT / "client" / "congrad" / "demo_data" / "checkpoint",
    batch_size: Annotated[int, typer.Option(help="Rows in one request.")] = 256,
) -> None:
    """Filters a file in two passes, and watches Redis meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = written(folder / "pairs.jsonl", pairs)
        options = StackOptions(
            folder / "data", free_port(), environment={"CONGRAD_MODEL": str(model)}, log=folder / "log"
        )
        with running_stack(options) as stack, watched(stack) as peak:
            start = time.perf_counter()
            said = filtered(stack, source, folder / "kept.jsonl", batch_size)
            seconds = time.perf_counter() - start
    print(f"{pairs:,} pairs of {model.name} in {seconds:.0f} s")
    print(f"said beforehand {said:,.1f} MiB, seen {peak[0] / 2**20:,.1f} MiB above the empty Redis")


def written(path: Path, pairs: int) -> Path:
    """A file of so many different pairs."""
    fields = ("language", "prompt", "chosen", "rejected")
    rows = ({name: row[name] for name in fields} for row in cycle(demo_pairs()))
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(islice(rows, pairs)):
            file.write(json.dumps(row | {"prompt": f"{row['prompt']} ({number})"}, ensure_ascii=False) + "\n")
    return path


def filtered(stack: Stack, source: Path, kept: Path, batch_size: int) -> float:
    """Runs the command; the MiB that it says it will need."""
    command = [sys.executable, "-m", "congrad", "filter", str(source), "-o", str(kept), "--url", stack.url]
    done = subprocess.run([*command, "--batch-size", str(batch_size)], capture_output=True, text=True, env=os.environ)
    if done.returncode:
        sys.exit(done.stderr)
    found = re.search(r"up to ([\d.,]+) MiB of Redis", done.stderr)
    if found is None:
        sys.exit(f"nothing was said: {done.stderr}")
    return float(found[1].replace(",", ""))


@contextmanager
def watched(stack: Stack) -> Iterator[list[int]]:
    """The most that Redis takes up while the block runs, in bytes above what it took up before."""
    connection = redis.Redis.from_url(stack.environment["CONGRAD_REDIS_URL"])

    def used() -> int:
        return int(connection.info("memory")["used_memory"])

    before, peak, ended = used(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(TICK_S):
            peak[0] = max(peak[0], used() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        connection.close()


if __name__ == "__main__":
    typer.run(main)
