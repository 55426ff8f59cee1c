"""Several processes that ask about the same rows: the ranks of a training job, and the processes of a map."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from congrad import Client
from congrad.integrations.trl import filter_dataset
from congrad.local.stack import Stack
from congrad_service import keys
from datasets import Dataset, load_from_disk
from redis import Redis
from support.pairs import demo_samples

RANKS = 2

SCRIPT = """
import json, os, sys
import congrad
from congrad.integrations.trl import filter_dataset
from datasets import load_dataset

url, source, direction, folder = sys.argv[1:]
rank = os.environ["RANK"]
rows = load_dataset("json", data_files=source, split="train", cache_dir=f"{folder}/cache-{rank}")
with congrad.Client(url, max_retries=0) as client:
    kept = filter_dataset(rows, client, direction=direction, batch_size=5)
with open(f"{folder}/rank-{rank}.json", "w") as file:
    json.dump([os.environ["WORLD_SIZE"], kept["keep"][:], kept["conflict_score"][:]], file)
"""
"""What each rank runs: nothing in it depends on the rank, but where its own files lie."""


@pytest.fixture
def direction() -> str:
    """A direction that no other test uses."""
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def redis(stack: Stack) -> Iterator[Redis]:
    """The Redis of the stack."""
    with Redis.from_url(stack.environment["CONGRAD_REDIS_URL"]) as connected:
        yield connected


def with_gradients(client: Client, redis: Redis, direction: str) -> int:
    """How many samples gradients were computed for: those of jobs that do not score an earlier job's again."""
    jobs = [job for job in client.jobs.list(500) if job.direction == direction]
    return sum(job.samples for job in jobs if not redis.hexists(keys.job(job.id), "source"))


def counted(client: Client, direction: str) -> dict[str, int]:
    return {tag: language.samples for tag, language in client.directions.get(direction).languages.items()}


@pytest.mark.slow  # in one process: client/integrations
def test_ranks_of_one_job_get_the_same_decisions_and_gradients_are_computed_once(
    stack: Stack, client: Client, redis: Redis, direction: str, tmp_path: Path
) -> None:
    rows = demo_samples("de", "fr", "ja", each=6)
    source, script = tmp_path / "pairs.jsonl", tmp_path / "train.py"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    script.write_text(SCRIPT, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launch, str(script), stack.url, str(source), direction, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(RANKS))
    assert first == second
    world, keep, scores = first
    assert (world, len(keep)) == (str(RANKS), len(rows))
    assert len(set(scores)) == len(rows), "each row has a score of its own"
    assert counted(client, direction) == Counter(row["language"] for row in rows)
    assert with_gradients(client, redis, direction) == len(rows)


def mapped(rows: Dataset, client: Client, direction: str, **options: Any) -> list[float]:
    """The scores that a map with two processes asks for."""

    def ask(batch: dict[str, list[Any]]) -> dict[str, list[float | None]]:
        samples = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        return {"score": [d.conflict_score for d in client.filter(samples, direction=direction).decisions]}

    scores: list[float] = rows.map(ask, batched=True, batch_size=4, num_proc=2, **options)["score"][:]
    return scores


def test_a_map_with_two_processes_counts_each_pair_once_however_often_it_runs(
    client: Client, direction: str, tmp_path: Path
) -> None:
    rows = demo_samples("de", "fr", "ja", each=6)
    Dataset.from_list(rows).save_to_disk(tmp_path / "rows")
    dataset = load_from_disk(tmp_path / "rows")
    once = mapped(dataset, client, direction)
    asked = len(client.jobs.list(500))
    assert mapped(dataset, client, direction) == once, "kept by datasets, which knows the client by its settings"
    assert len(client.jobs.list(500)) == asked
    # Asked anew, all rows are scored against what all of them have made.
    again = [mapped(dataset, client, direction, load_from_cache_file=False) for _ in range(2)]
    assert again[0] == pytest.approx(again[1], abs=2e-3)
    together = filter_dataset(dataset, client, direction=direction + "-together")["conflict_score"][:]
    assert again[0] == pytest.approx(together, abs=2e-3)
    assert counted(client, direction) == Counter(row["language"] for row in rows)
