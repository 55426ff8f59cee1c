"""Sixty-four clients, two decide workers, one direction."""

import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad import Client
from congrad.local.part import Program
from congrad.local.stack import Stack
from congrad_service import keys
from congrad_service.queue.registry import Role
from redis import Redis
from support.pairs import demo_samples

CLIENTS = 64
"""With a pair each. In `make bench-load` they go on."""


@pytest.fixture
def crowded(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """The stack with a second decide worker, so that decisions race for the direction."""
    environment = {**stack.environment, "OPENBLAS_NUM_THREADS": "1"}
    with (tmp_path / "log").open("wb") as log:
        beside = Stack(stack.url, environment, log)
        beside.start(Program("decide worker", [sys.executable, "-m", "congrad_worker", "decide"], environment))
        try:
            with Redis.from_url(stack.environment["CONGRAD_REDIS_URL"]) as redis:
                while redis.zcard(keys.workers(Role.DECIDE)) < 2:
                    beside.check()
                    time.sleep(0.05)  # nothing tells when a worker announces itself
            yield stack
        finally:
            beside.stop()


def test_every_version_is_written_once_and_every_sample_counted_once(crowded: Stack) -> None:
    rows, name = demo_samples(), f"test-{uuid.uuid4().hex}"

    def post(client: int) -> dict[str, Any]:
        with httpx.Client(base_url=crowded.url, timeout=120) as http:
            body = {"samples": [rows[client]], "direction": name}
            answer = http.post("/filter", json=body, headers={"Prefer": "wait=60"})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(post, range(CLIENTS)))
    assert sorted(answer["direction"]["version"] for answer in answers) == list(range(1, CLIENTS + 1))
    posted = Counter(answer["decisions"][0]["language"] for answer in answers)
    with Client(crowded.url) as client:
        direction = client.directions.get(name)
    assert direction.version == CLIENTS
    assert {tag: language.samples for tag, language in direction.languages.items()} == posted
