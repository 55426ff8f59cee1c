"""What the service costs on top of the gradients: the same pairs through HTTP, Celery and Redis, and through the
gradient function alone, in turn.

    python benchmarks/overhead.py [--model DIR] [--data FILE.jsonl] [--batch 256] [--rounds 1]

Prints seconds for each way, and their ratio. Both ways use the same number of threads, and never run at once.
"""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Annotated, Any

THREADS = len(os.sched_getaffinity(0))
# As `congrad up` sets them for its worker; torch reads them when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer
from congrad import Client, Sample
from congrad.files.samples import read_samples
from congrad.local.stack import StackOptions, running_stack
from congrad_service.jobs.chunks import split
from congrad_service.settings import ServiceSettings
from congrad_worker.checkpoints.checkpoint import load
from congrad_worker.checkpoints.encoding import Encoder
from congrad_worker.checkpoints.files import locate
from congrad_worker.gradients.engine import GradientEngine
from congrad_worker.gradients.verification import verified_engine
from congrad_worker.settings import GradientSettings

DEMO = Path(str(files("congrad"))) / "demo_data"


def alone(engine: GradientEngine, encoder: Encoder, requests: Sequence[list[dict[str, Any]]]) -> float:
    """Seconds for encoding and gradients of the same chunks in this process."""
    tokens = ServiceSettings().chunk_tokens
    start = time.perf_counter()
    for request in requests:
        for chunk in split([Sample.model_validate(row) for row in request], tokens, len(request)):
            engine.compute([encoder.encode(sample) for sample in chunk])
    return time.perf_counter() - start


def through_http(client: Client, requests: Sequence[list[dict[str, Any]]], direction: str) -> tuple[float, int]:
    """Seconds for the requests one after the other, and how many pairs have a decision."""
    start = time.perf_counter()
    results = [client.filter(request, direction=direction) for request in requests]
    return time.perf_counter() - start, sum(len(result.decisions) for result in results)


def main(
    model: Annotated[Path, typer.Option(help="Folder of a checkpoint.")] = DEMO / "checkpoint",
    data: Annotated[Path, typer.Option(help="Rows with language, prompt, chosen, rejected.")] = DEMO / "pairs.jsonl",
    batch: Annotated[int, typer.Option(help="Pairs in a request.", min=1)] = 256,
    rounds: Annotated[int, typer.Option(help="How often both ways are taken, in turn.", min=1)] = 1,
) -> None:
    """Compares the two ways."""
    rows = read_samples(data)
    requests = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    settings = GradientSettings(model=str(model))
    checkpoint = load(locate(settings), settings)
    engine, encoder = verified_engine(checkpoint, settings), Encoder(checkpoint.tokenizer, checkpoint.max_length)
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        options = StackOptions(
            Path(folder), port=0, environment={"CONGRAD_MODEL": str(model)}, log=Path(folder) / "log"
        )
        with running_stack(options) as stack, Client(stack.url) as client:
            for number in range(rounds):
                function = alone(engine, encoder, requests)
                service, decided = through_http(client, requests, f"round-{number}")
                languages = len(client.directions.get(f"round-{number}").languages)
                measured.append({"function_s": round(function, 2), "service_s": round(service, 2)})
                print(json.dumps({"pairs": len(rows), "decided": decided, "languages": languages, **measured[-1]}))
    ratio = median(m["service_s"] / m["function_s"] for m in measured)
    print(f"service / function: {ratio:.3f} (median of {rounds}; {THREADS} threads, requests of {batch})")


if __name__ == "__main__":
    typer.run(main)
