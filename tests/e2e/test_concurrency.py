"""Sixty-four clients, two workers of each role, one direction."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad import Client
from congrad.local.stack import Stack, StackOptions, running_stack
from congrad_service import keys
from congrad_service.queue.registry import Role
from redis import Redis
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples

CLIENTS = 64
REQUESTS = 2
"""Of each client, one after the other, with one pair each."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a second decide worker, so that decisions race for the direction."""
    folder: Path = tmp_path_factory.mktemp("crowded")
    environment = {"CONGRAD_MODEL": str(DEMO_CHECKPOINT), "CONGRAD_HALF_LIFE": "inf"}
    options = StackOptions(folder / "data", port=0, workers=2, environment=environment, log=folder / "log")
    with running_stack(options) as stack:
        second = [sys.executable, "-m", "congrad_worker", "decide"]
        stack.start("decide worker", second, {**os.environ, **stack.environment, "OPENBLAS_NUM_THREADS": "1"})
        with Redis.from_url(stack.environment["CONGRAD_REDIS_URL"]) as redis:
            while redis.zcard(keys.workers(Role.DECIDE)) < 2:
                stack.check()
        yield stack


def test_every_version_is_written_once_and_every_sample_counted_once(crowded: Stack) -> None:
    rows = demo_samples()

    def post(client: int) -> list[dict[str, Any]]:
        mine = [rows[(client * REQUESTS + number) % len(rows)] for number in range(REQUESTS)]
        with httpx.Client(base_url=crowded.url, timeout=120) as http:
            answers = [http.post("/filter", json={"samples": [row]}, headers={"Prefer": "wait=60"}) for row in mine]
        assert [answer.status_code for answer in answers] == [200] * REQUESTS, [answer.text for answer in answers]
        return [answer.json() for answer in answers]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for of_client in pool.map(post, range(CLIENTS)) for answer in of_client]
    versions = sorted(answer["direction"]["version"] for answer in answers)
    assert versions == list(range(1, CLIENTS * REQUESTS + 1))
    posted = Counter(answer["decisions"][0]["language"] for answer in answers)
    with Client(crowded.url) as client:
        direction = client.directions.get("default")
    assert direction.version == CLIENTS * REQUESTS
    assert {tag: language.samples for tag, language in direction.languages.items()} == posted
