"""The next round without downtime, as docs/operations.md has it: workers of the new checkpoint come up beside those of
the old one, requests go over to it, the old ones are drained and go. Requests run all the time. None is tried
again, and none fails.
"""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
from congrad import Client
from congrad.local.part import Program
from congrad.local.redis_server import free_port
from congrad.local.stack import Stack
from congrad.protocol.results import Filtered
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples

LANGUAGES = ("de", "fr", "ja")
PATIENCE_S = 120.0


class Traffic:
    """Somebody who posts one request after the other, with no second try, until told to stop."""

    def __init__(self, url: str, **request: Any):
        self.answers: list[Filtered] = []
        self.failures: list[Exception] = []
        self._url = url
        self._request = request
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        rows = cycle(demo_samples(*LANGUAGES, each=8))  # counted again when they come again
        with Client(self._url, max_retries=0) as client:
            while not self._stopped.is_set():
                try:
                    self.answers.append(client.filter([next(rows) for _ in range(3)], repeats="count", **self._request))
                except Exception as error:  # whatever it is, the test says that there is none
                    self.failures.append(error)
                    return

    def wait_for_more(self, count: int = 3) -> None:
        """Until there are so many answers more."""
        wanted = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= wanted or self.failures)
        assert not self.failures, self.failures

    def stop(self) -> None:
        """Until the last answer is there."""
        self._stopped.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert not self.failures, self.failures


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between two looks


@pytest.fixture
def environment(redis_url: str) -> Mapping[str, str]:
    return {
        **os.environ,
        "CONGRAD_REDIS_URL": redis_url,
        "CONGRAD_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def running(log: Path, environment: Mapping[str, str], *modules: str, **settings: str) -> Iterator[Stack]:
    """Parts of the stack, until the end of the block."""
    with log.open("ab") as file:
        stack = Stack(f"http://127.0.0.1:{environment['CONGRAD_PORT']}", {**environment, **settings}, file)
        try:
            for module in modules:
                stack.start(Program(module, [sys.executable, "-m", *module.split()], stack.environment))
            yield stack
        finally:
            stack.stop()


def served(url: str) -> dict[str, str]:
    """The checkpoints that live workers have: fingerprints by name."""
    return {one["name"]: one["fingerprint"] for one in httpx.get(f"{url}/checkpoints").raise_for_status().json()}


def is_drained(url: str, fingerprint: str) -> bool:
    """Whether nothing waits for the workers of a checkpoint, and none of them is at work."""
    queue, workers = (httpx.get(f"{url}/{name}").raise_for_status().json() for name in ("queue", "workers"))
    waiting = [checkpoint["tasks"] for checkpoint in queue["checkpoints"] if checkpoint["fingerprint"] == fingerprint]
    busy = [worker["busy"] for worker in workers if worker["fingerprint"] == fingerprint]
    assert waiting
    assert busy
    return not any(waiting) and not any(busy)


@pytest.mark.slow
def test_no_request_fails_while_a_new_checkpoint_takes_the_place_of_the_old_one(
    environment: Mapping[str, str], small_llama: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with ExitStack() as last, running(log, environment, "congrad_worker decide", "congrad_service") as stack:
        first_workers = ExitStack()
        last.callback(first_workers.close)
        worker = running(log, environment, "congrad_worker gradients", CONGRAD_MODEL=str(DEMO_CHECKPOINT))
        first_workers.enter_context(worker)
        stack.wait_until_ready(None)
        url, first = stack.url, served(stack.url)[DEMO_CHECKPOINT.name]

        # The old round asks as it always has, without a word about checkpoints.
        old = Traffic(url, direction="round-1")
        old.wait_for_more()

        # 1. Workers of the new checkpoint, beside the old ones; 2. when they have loaded it, it is served.
        worker = running(log, environment, "congrad_worker gradients", CONGRAD_MODEL=str(small_llama))
        last.enter_context(worker)
        wait_until(lambda: small_llama.name in served(url))
        second = served(url)[small_llama.name]

        # 3. The next round asks for it by its fingerprint, with a direction of its own. Both are served.
        new = Traffic(url, direction="round-2", checkpoint=second)
        new.wait_for_more()
        old.wait_for_more()

        # 4. When the old round has its last answer, and nothing is left of it, 5. its workers are told to stop.
        old.stop()
        wait_until(lambda: is_drained(url, first))
        first_workers.close()
        assert served(url) == {small_llama.name: second}
        new.wait_for_more()
        new.stop()

        with Client(url) as client:
            for traffic, name, fingerprint in ((old, "round-1", first), (new, "round-2", second)):
                direction = client.directions.get(name)
                assert direction.fingerprint == fingerprint
                assert direction.version == len(traffic.answers)
                assert Counter({tag: language.samples for tag, language in direction.languages.items()}) == Counter(
                    decision.language for answer in traffic.answers for decision in answer.decisions
                )
