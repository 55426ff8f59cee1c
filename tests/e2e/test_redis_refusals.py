"""A Redis that says no for some seconds is waited out: no part ends, no checkpoint is loaded again, nothing is lost."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from congrad import Client
from congrad.local.stack import Stack, StackOptions, running_stack
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples
from support.refusals import REFUSALS
from support.waiting import until

SECONDS = 3.0
PAIRS = 60
"""Some seconds of work, so that Redis says no in the middle of it."""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: what it runs on is spoilt now and then."""
    folder: Path = tmp_path_factory.mktemp("refused")
    environment = {"CONGRAD_MODEL": str(DEMO_CHECKPOINT), "CONGRAD_HALF_LIFE": "inf", "CONGRAD_CHUNK_TOKENS": "2000"}
    options = StackOptions(folder / "data", port=0, environment=environment, log=folder / "log")
    with running_stack(options) as stack:
        yield stack


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "OOM" else [pytest.mark.slow]) for kind in REFUSALS]
)
def test_workers_wait_until_redis_does_what_it_is_asked_again(kind: str, refused: Stack) -> None:
    rows = (demo_samples() * 3)[:PAIRS]
    with (
        Client(refused.url) as client,
        redis.Redis.from_url(refused.environment["CONGRAD_REDIS_URL"]) as connection,
    ):
        before = {worker.id for worker in client.workers()}
        found = []
        asking = threading.Thread(
            target=lambda: found.append(client.filter(rows, direction=kind.lower(), batch_size=PAIRS // 2))
        )
        asking.start()
        until(lambda: any(job.progress.done for job in client.jobs.list() if not job.status.ended))
        with REFUSALS[kind](connection):
            time.sleep(SECONDS)  # it is how long Redis says no, and nothing tells that a part has not ended
        asking.join(timeout=90)
        assert [len(result.decisions) for result in found] == [PAIRS]
        counted = sum(language.samples for language in client.directions.get(kind.lower()).languages.values())
        assert counted == PAIRS
        assert {worker.id for worker in client.workers()} == before, "a worker was started again"
    refused.check()
