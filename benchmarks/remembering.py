"""What it costs that a direction remembers its pairs: the memory in Redis, and the time of a decision and its commit
with few and with very many of them.

    python benchmarks/remembering.py [--remembered 1000000] [--pairs 256] [--languages 8] [--rounds 15]

Starts a Redis of its own. Gradients are random, of the default length; each request has new pairs. Takes turns between
a direction that remembers few, one that remembers so many, and requests whose pairs have no hash, which is as it was
before pairs were remembered. Prints milliseconds of each, by the clock, and of processor time of worker and Redis
together, which other processes disturb less, and the median of what a request with very many costs more than the one
without beside it.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import redis
import typer
from congrad.contract import wire
from congrad.local.redis_server import configure, free_port
from congrad_service import keys
from congrad_service.directions import remembered
from congrad_service.settings import RedisSettings
from congrad_worker.decisions.aggregation.surgery import pcgrad
from congrad_worker.decisions.consensus import Rule
from congrad_worker.decisions.decide import Rules
from congrad_worker.decisions.direction import Samples
from congrad_worker.tasks.deciding.verdicts import Judge
from congrad_worker.tasks.records import ChunkResult
from congrad_worker.tasks.store import Store

DIM = 16_384
RULES = Rules(Rule("pcgrad", 0, pcgrad), half_life=float("inf"), max_pairs=2**40)


@contextmanager
def redis_of_its_own() -> Iterator[str]:
    """Its URL."""
    with tempfile.TemporaryDirectory() as folder:
        config = configure(Path(folder), free_port())
        process = subprocess.Popen(config.command, stdout=subprocess.DEVNULL)
        try:
            with redis.Redis.from_url(config.url) as connection:
                while not _is_there(connection):
                    time.sleep(0.05)
            yield config.url
        finally:
            process.terminate()
            process.wait()


def _is_there(connection: Any) -> bool:
    try:
        return bool(connection.ping())
    except redis.ConnectionError:
        return False


class Requests:
    """Jobs whose gradients are there, to be decided."""

    def __init__(self, store: Store, pairs: int, languages: int):
        self._store = store
        self._draw = np.random.default_rng(0)
        self._tags = [f"x-l{number % languages}" for number in range(pairs)]
        gradients = self._draw.standard_normal((pairs, DIM), dtype=np.float32) + 0.02
        self._samples = Samples.of(gradients, self._tags)
        self._number = 0

    def decide(self, judge: Judge, direction: str, hashed: bool = True) -> tuple[float, float]:
        """Milliseconds from the gradients in Redis to the answer: by the clock, and of processor time."""
        self._number += 1
        job_id, count = f"{direction}-{self._number}", len(self._tags)
        hashes = [self._draw.bytes(remembered.HASH_BYTES) if hashed else None for _ in range(count)]
        ids = [str(number) for number in range(count)]
        job: dict[Any, Any] = {
            "status": "running",
            "created": 1,
            "direction": direction,
            "update": 1,
            "fingerprint": "f",
            "checkpoint": "c",
            "chunks": 1,
            "selection": wire.ThresholdSelection().model_dump_json(),
        }
        self._store.redis.hset(keys.job(job_id), mapping=job)
        self._store.put_gradients(job_id, 0, ChunkResult(ids, self._samples, [False] * count, [], hashes))
        start, used = time.perf_counter(), self._used()
        judge.settle(job_id)
        spent = time.perf_counter() - start, self._used() - used
        found: Any = self._store.redis.hget(keys.job(job_id), "status")
        assert found == b"succeeded", self._store.redis.hgetall(keys.job(job_id))
        return 1000 * spent[0], 1000 * spent[1]

    def _used(self) -> float:
        """Processor seconds so far."""
        told: Any = self._store.redis.info("cpu")
        return time.process_time() + float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def fill(store: Store, direction: str, count: int) -> float:
    """Makes a direction remember so many pairs, of all its languages alike; bytes in Redis for each."""
    draw = np.random.default_rng(1)
    record = store.direction(direction)
    pairs = {}
    for tag, state in record.languages.items():
        own = np.zeros(count // len(record.languages), remembered.PAIR)
        own["hash"] = np.frombuffer(draw.bytes(remembered.HASH_BYTES * len(own)), remembered.PAIR["hash"])
        own["samples"], own["amount"] = state.samples, 1.0
        pairs[tag] = own
    fields, tables = remembered.fields(pairs)
    store.redis.delete(keys.pairs(direction))
    names = list(fields)
    for start in range(0, len(names), 5_000):
        store.redis.hset(keys.pairs(direction), mapping={name: fields[name] for name in names[start : start + 5_000]})
    store.redis.hset(keys.direction(direction), "tables", remembered.dumped(tables))
    size: Any = store.redis.memory_usage(keys.pairs(direction), samples=0)
    return float(size) / sum(table.pairs for table in tables.values())


def main(
    remembered_pairs: Annotated[int, typer.Option("--remembered", help="Pairs that are remembered.")] = 1_000_000,
    pairs: Annotated[int, typer.Option(help="Pairs of a request.", min=1)] = 256,
    languages: Annotated[int, typer.Option(help="Languages of a request.", min=1)] = 8,
    rounds: Annotated[int, typer.Option(help="Requests of each kind.", min=1)] = 15,
) -> None:
    """Measures it."""
    with redis_of_its_own() as url:
        store = Store(RedisSettings.model_validate({"redis_url": url}))
        requests = Requests(store, pairs, languages)
        ways = {"without": ("without", False), "few": ("few", True), "many": ("many", True)}
        judges = {way: Judge(store, replace(RULES)) for way in ways}
        for way, (direction, hashed) in ways.items():
            requests.decide(judges[way], direction, hashed)
        print(f"{fill(store, 'many', remembered_pairs):.1f} bytes in Redis for each of {remembered_pairs:,} pairs")
        judges["many"] = Judge(store, RULES)  # what it has in memory is of before
        for way, (direction, hashed) in ways.items():
            requests.decide(judges[way], direction, hashed)
        spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for number in range(rounds):
            for way in list(ways)[number % 3 :] + list(ways)[: number % 3]:
                spent[way].append(requests.decide(judges[way], *ways[way]))
        for number, clock in enumerate(("by the clock", "of processor time")):
            times = {way: [one[number] for one in own] for way, own in spent.items()}
            said = ", ".join(f"{way} {median(own):.1f} (best {min(own):.1f})" for way, own in times.items())
            # Of neighbours: what disturbs one round disturbs all three in it.
            more = median(many - none for many, none in zip(times["many"], times["without"], strict=True))
            share = 100 * more / median(times["without"])
            print(f"ms {clock}: {said}; with {remembered_pairs:,} remembered {more:+.1f} ({share:+.1f} %)")
        store.redis.close()


if __name__ == "__main__":
    typer.run(main)
