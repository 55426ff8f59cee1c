"""Another checkpoint takes the place of what a running worker serves, and it sleeps and wakes, with requests all the
time. The stack is that of other tests: what it served at first is published again at the end of each.
"""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
from congrad import AsyncClient, Client, PermissionDeniedError, PublicationFailedError
from congrad.local.stack import Stack
from congrad_service import keys
from congrad_service.queue.broker import UNACKED
from congrad_service.queue.queue import Queue
from congrad_service.settings import ServiceSettings
from redis import Redis
from support.adapters import save_adapter
from support.commands import run
from support.faulty_transport import FaultyTransport, Send, away, lost
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples
from support.waiting import until

ROWS = demo_samples("de", "fr", each=2)


@pytest.fixture
def first(client: Client) -> Iterator[str]:
    """What is served at the beginning, and again at the end."""
    (served,) = client.checkpoints()
    yield served.fingerprint
    again = client.checkpoints.publish(model=DEMO_CHECKPOINT, replaces=client.checkpoints()[0].fingerprint, timeout=120)
    assert again.fingerprint == served.fingerprint


@pytest.fixture
def adapter(publishable: Path) -> Path:
    """A folder that no other test publishes."""
    return save_adapter(DEMO_CHECKPOINT, publishable / uuid.uuid4().hex, seed=1, scale=1.0)


def scores(client: Client, checkpoint: str) -> list[float]:
    """Of the same pairs in a direction that has no others."""
    found = client.filter(ROWS, direction=f"test-{uuid.uuid4().hex}", checkpoint=checkpoint)
    assert found.direction is not None
    values = [decision.conflict_score for decision in found.decisions]
    assert None not in values
    return [float(value or 0.0) for value in values]


def assert_alike(found: Sequence[float], expected: Sequence[float]) -> None:
    """But for rounding, which depends on what else is in a batch."""
    np.testing.assert_allclose(found, expected, atol=1e-4)


class Asking:
    """Somebody who asks for the scores against one checkpoint again and again, with no second try."""

    def __init__(self, url: str, checkpoint: str):
        self.found: list[list[float]] = []
        self.failures: list[Exception] = []
        self._url, self._checkpoint = url, checkpoint
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with Client(self._url, max_retries=0) as client:
            while not self._stopped.is_set():
                try:
                    self.found.append(scores(client, self._checkpoint))
                except Exception as error:  # whatever it is, the test looks at it
                    self.failures.append(error)
                    return

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(120)
        assert not self._thread.is_alive()


def test_jobs_before_and_during_a_publication_are_answered_by_exactly_what_they_asked_for(
    stack: Stack, client: Client, first: str, adapter: Path
) -> None:
    old = scores(client, first)
    asking = Asking(stack.url, first)
    names = [f"test-{uuid.uuid4().hex}" for _ in range(3)]
    before = [client.jobs.submit(ROWS, direction=name, checkpoint=first) for name in names]
    served = client.checkpoints.publish(adapter=adapter, replaces=first, timeout=120)
    assert served.fingerprint != first
    assert served.name == f"{DEMO_CHECKPOINT.name}+{adapter.name}"
    new = scores(client, served.fingerprint)
    asking.stop()
    assert not np.allclose(old, new, atol=1e-2), "the two cannot be told apart"
    for job in before:
        answer = client.jobs.wait(job)
        assert_alike([float(decision.conflict_score or 0.0) for decision in answer.decisions], old)
    for found in asking.found:
        assert_alike(found, old)
    for error in asking.failures:  # once it was replaced, and not before
        assert "no worker serves checkpoint" in str(error)
    assert [one.fingerprint for one in client.checkpoints()] == [served.fingerprint]


@pytest.mark.parametrize("named_by", ["name", "fingerprint"])
def test_a_publication_whose_answer_is_lost_is_that_publication_when_it_is_asked_for_again(
    named_by: str, stack: Stack, client: Client, first: str, adapter: Path
) -> None:
    """Also where nobody serves anything of the old one's name by then."""

    def rule(_: int, request: httpx.Request, send: Send) -> httpx.Response:
        if request.method == "POST" and ("POST", "/checkpoints") not in transport.asked[:-1]:
            send()
            until(lambda: [one.fingerprint for one in client.checkpoints()] != [first])
            return lost(request)
        return send()

    transport = FaultyTransport(rule)
    (old,) = client.checkpoints()
    with Client(stack.url, transport=transport) as faulty:
        served = faulty.checkpoints.publish(adapter=adapter, replaces=getattr(old, named_by), timeout=120)
    assert transport.asked.count(("POST", "/checkpoints")) == 2
    assert served.name == f"{old.name}+{adapter.name}"


def test_what_cannot_be_served_says_why_and_the_old_checkpoint_goes_on(
    client: Client, first: str, adapter: Path
) -> None:
    old = scores(client, first)
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(PublicationFailedError, match="cannot be loaded") as failed:
        client.checkpoints.publish(adapter=adapter, timeout=120)
    assert str(adapter) not in str(failed.value)
    (served,) = client.checkpoints()
    assert served.publication is not None
    assert served.publication.error == failed.value.publication.error
    assert_alike(scores(client, first), old)
    with pytest.raises(PublicationFailedError, match="there is no such folder"):
        client.checkpoints.publish(adapter=adapter.parent / "nothing", timeout=120)
    link = adapter.parent / f"link-{uuid.uuid4().hex}"
    link.symlink_to("/etc")
    with pytest.raises(PermissionDeniedError, match="is not among what the operator allows"):
        client.checkpoints.publish(adapter=link, timeout=120)


def test_the_command_publishes_and_prints_the_fingerprint(
    stack: Stack, client: Client, first: str, adapter: Path
) -> None:
    done = run("publish", "--adapter", str(adapter), "--url", stack.url)
    assert done.returncode == 0, done.stderr
    (served,) = client.checkpoints()
    assert done.stdout.split() == [served.fingerprint]
    assert served.fingerprint != first
    again = run("publish", "--adapter", "/nowhere", "--url", stack.url, "--json")
    assert again.returncode == 1
    assert "is not among what the operator allows" in again.stderr


@pytest.mark.parametrize("level", ["offload", "discard"])
def test_a_worker_sleeps_says_so_and_is_woken_by_work(level: str, stack: Stack, client: Client, first: str) -> None:
    old = scores(client, first)
    client.workers.sleep(level=level, timeout=60)  # type: ignore[arg-type]
    (worker,) = (one for one in client.workers() if one.role == "gradients")
    assert worker.asleep == level
    assert httpx.get(f"{stack.url}/readyz").json() == {"status": "asleep"}
    assert client.is_ready()
    assert_alike(scores(client, first), old)
    client.workers.sleep(first, level="offload", timeout=60)
    client.workers.wake(timeout=60)
    (worker,) = (one for one in client.workers() if one.role == "gradients")
    assert worker.asleep is None
    assert_alike(scores(client, first), old)


def test_a_service_that_is_started_again_is_no_error_to_who_waits_for_sleep(stack: Stack, client: Client) -> None:
    def rule(number: int, request: httpx.Request, send: Send) -> httpx.Response:
        return away(request) if number in (1, 2) else send()

    with Client(stack.url, transport=FaultyTransport(rule), max_retries=0) as faulty:
        faulty.workers.sleep()
    assert [worker.asleep for worker in client.workers() if worker.role == "gradients"] == ["offload"]
    client.workers.wake()


def test_a_publication_wakes_what_sleeps(stack: Stack, first: str, adapter: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(stack.url) as client:
            await client.workers.sleep(level="discard", timeout=60)
            served = await client.checkpoints.publish(adapter=adapter, timeout=120)
            assert served.fingerprint != first
            assert served.asleep == 0
            await client.workers.wake(timeout=60)
            assert [one.asleep for one in await client.workers.list() if one.role == "gradients"] == [None]
            assert [one.fingerprint for one in await client.checkpoints.list()] == [served.fingerprint]

    asyncio.run(ask())


@pytest.mark.timing
def test_an_adapter_is_published_and_has_scored_within_a_second(client: Client, first: str, adapter: Path) -> None:
    scores(client, first)
    begun = time.monotonic()
    served = client.checkpoints.publish(adapter=adapter, timeout=60)
    published = time.monotonic()
    scores(client, served.fingerprint)
    seconds = {"published": published - begun, "scored": time.monotonic() - begun}
    print(json.dumps(seconds))
    assert seconds["scored"] < 1


def test_a_message_whose_work_is_done_wakes_nobody(stack: Stack, client: Client, first: str) -> None:
    done = client.filter(demo_samples(each=1), direction=f"done-{uuid.uuid4().hex}", checkpoint=first)
    client.workers.sleep(first, timeout=60)
    queue = keys.gradients_queue(first)
    url = stack.environment["CONGRAD_REDIS_URL"]
    Queue(ServiceSettings.model_validate({"redis_url": url})).enqueue_chunk(done.job_ids[0], 0, first)
    with Redis.from_url(url) as redis:
        deadline = time.monotonic() + 30
        while (left := redis.llen(queue) + redis.hlen(UNACKED)) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not left, "the message was not taken, or not acknowledged"
    after = datetime.now(UTC)
    while (worker := next(one for one in client.workers() if one.role == "gradients")).seen < after:
        time.sleep(0.05)
    assert worker.asleep is not None
    assert httpx.get(f"{stack.url}/readyz").json() == {"status": "asleep"}
    client.workers.wake(timeout=60)
