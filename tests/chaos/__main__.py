"""`make chaos`: faults for some minutes, and a report."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from chaos.run import run


def main(
    minutes: Annotated[float, typer.Option(help="Minutes of faults; the comparison takes a while after them.")] = 10,
    seed: Annotated[int, typer.Option(help="Decides what is sent, what is hit, and when.")] = 0,
    store: Annotated[
        str | None,
        typer.Option(help="A gradient store, such as file:///tmp/gradients: half of the jobs keep theirs there."),
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder for logs and data, which are kept then.")] = None,
) -> None:
    """Runs it; status 1 if a promise was broken."""
    with tempfile.TemporaryDirectory(prefix="congrad-chaos-") as folder:
        outcome = run(minutes * 60, seed, keep or Path(folder), store=store)
    print(outcome.diary(), outcome.report(), sep="\n\n")
    sys.exit(bool(outcome.broken))


if __name__ == "__main__":
    typer.run(main)
