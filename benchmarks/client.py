"""What the SDK costs on top of plain httpx: the same small samples to a server that does nothing, in turn, with the
same number of samples in a request and of requests in flight.

    python benchmarks/client.py [--samples 10000] [--rounds 11]

Prints seconds for each way, and the median of the ratios of the rounds.
"""

import json
import multiprocessing
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from statistics import median
from typing import Annotated, Any

import httpx
import typer
import uvicorn
from congrad import Client
from congrad.contract import wire
from congrad.local.redis_server import free_port
from congrad.protocol.options import BATCH_SIZE, CONCURRENCY


@cache
def _answer(count: int) -> bytes:
    decision = {
        "id": "00000000",
        "language": "de",
        "keep": True,
        "conflict_score": -0.12345678901234567,
        "conflicts_with": ["fr"],
        "truncated": False,
        "reason": None,
    }
    result = {
        "job_id": "j" * 32,
        "direction": {"name": "default", "version": 7, "checkpoint": "c", "languages": {"de": 412, "fr": 511}},
        "decisions": [decision] * count,
        "summary": {
            "kept": count,
            "dropped": 0,
            "by_language": {"de": {"kept": count, "dropped": 0, "mean_conflict": -0.1}},
        },
        "timing": {"queued_s": 0.0, "gradients_s": 0.0, "decide_s": 0.0, "total_s": 0.0},
    }
    return wire.FilterResult.model_validate(result).model_dump_json().encode()


async def _stub(scope: Any, receive: Any, send: Any) -> None:
    """A service that keeps every sample and looks at none."""
    if scope["type"] != "http":
        return
    body, is_more = b"", True
    while is_more:
        message = await receive()
        body, is_more = body + message["body"], message.get("more_body", False)
    ids = re.findall(rb'"id": ?"([^"]*)"', body)
    content = _answer(len(ids)).replace(b"00000000", b"%s") % tuple(ids) if ids else b'{"status":"ready"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _serve(port: int) -> None:
    uvicorn.run(_stub, port=port, log_level="error", lifespan="off")


@contextmanager
def stub_server() -> Iterator[str]:
    """A process with the stub; its URL."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(port,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        with Client(url) as client:
            client.wait_until_ready(60)
        yield url
    finally:
        process.terminate()
        process.join()


def plain(http: httpx.Client, samples: list[dict[str, Any]]) -> int:
    """Decisions had with httpx and a pool of threads."""
    batches = [samples[start : start + BATCH_SIZE] for start in range(0, len(samples), BATCH_SIZE)]

    def send(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        response = http.post("/filter", json={"samples": batch, "direction": "default", "update": True}, timeout=60)
        response.raise_for_status()
        decisions: list[dict[str, Any]] = response.json()["decisions"]
        return decisions

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return sum(len(decisions) for decisions in pool.map(send, batches))


def main(
    samples: Annotated[int, typer.Option(help="Samples of a round.", min=1)] = 10_000,
    rounds: Annotated[int, typer.Option(help="How often both ways are taken.", min=1)] = 11,
) -> None:
    """Compares the two ways."""
    rows = [
        {"id": str(i), "language": "de", "prompt": f"Frage {i}?", "chosen": "Ja, gern.", "rejected": "Nein."}
        for i in range(samples)
    ]
    measured = []
    with stub_server() as url, httpx.Client(base_url=url) as http, Client(url) as client:
        assert plain(http, rows) == len(client.filter(rows, progress=False).decisions) == samples  # warm
        for number in range(rounds):
            seconds = {}
            for way in ("plain", "sdk") if number % 2 else ("sdk", "plain"):
                start = time.perf_counter()
                plain(http, rows) if way == "plain" else client.filter(rows, progress=False)
                seconds[f"{way}_s"] = round(time.perf_counter() - start, 4)
            measured.append(seconds)
            print(json.dumps(seconds))
    ratio = median(m["sdk_s"] / m["plain_s"] for m in measured)
    print(json.dumps({"samples": samples, "median_ratio": round(ratio, 3)}))


if __name__ == "__main__":
    typer.run(main)
