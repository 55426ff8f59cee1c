"""RabbitMQ in the place of Redis as the broker of tasks: the same promises, with a real server and real workers."""

import asyncio
import random
import ssl
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
from celery import Celery
from chaos.parts import Part, Role
from chaos.stack import SupervisedStack, supervised_stack
from congrad_service import keys
from congrad_service.queue import queue as sending
from congrad_service.queue.queue import Queue
from kombu.exceptions import OperationalError
from support.guarded_redis import make_certificates, tls_proxy
from support.jobs import assert_folded_once, ended, post
from support.pairs import copies, demo_samples
from support.rabbitmq import SERVER, rabbitmq
from support.serving import settings
from support.stopped_proxy import stopped_proxy

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds and ends processes as Linux has them"),
    pytest.mark.skipif(not SERVER.exists(), reason="rabbitmq-server is not installed"),
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url


@pytest.fixture(scope="module")
def stack(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedStack]:
    """Two gradients workers, a decide worker and the service."""
    options = {"CONGRAD_BROKER_URL": broker, "CONGRAD_CHUNK_TOKENS": "2000"}
    folder, draw = tmp_path_factory.mktemp("stack"), random.Random(0)  # noqa: S311
    with supervised_stack(folder, draw, options, publishes=False) as running:
        yield running


@pytest.fixture
def http(stack: SupervisedStack) -> Iterator[httpx.Client]:
    """A client of the stack, all of whose parts are there whatever the test before has done."""
    stack.wait_until_whole()
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def direction() -> str:
    return f"test-{uuid.uuid4().hex}"


@contextmanager
def connected(broker: str) -> Iterator[Any]:
    """A connection of kombu, past the service."""
    with Celery(broker=broker) as app, app.connection_for_write() as connection:
        yield connection


def assert_done_once(http: httpx.Client, stack: SupervisedStack, job_id: str, rows: list[dict[str, Any]]) -> None:
    """The job ends, and its samples are in its direction as if nothing had happened."""
    job = ended(http, stack, job_id)
    assert job["status"] == "succeeded", job["error"]
    assert_folded_once(http, job["direction"], rows)


def busy_worker(stack: SupervisedStack, job_id: str) -> Part | None:
    """A gradients worker that is at a chunk of the job."""
    held = stack.redis.mget(list(stack.redis.scan_iter(keys.doing(job_id, "*"))) or [keys.NONE])
    owners = [owner.decode() for owner in cast("list[bytes | None]", held) if owner is not None]
    parts = [part for part in stack.of(Role.GRADIENTS) if part.child()]
    return next((part for part in parts if any(f":{part.child()}:" in owner for owner in owners)), None)


def test_tasks_go_through_rabbitmq_and_not_through_redis(
    stack: SupervisedStack, http: httpx.Client, broker: str, direction: str
) -> None:
    rows = demo_samples()
    job_id = post(http, rows, direction)
    assert_done_once(http, stack, job_id, rows)
    assert not [key for key in stack.redis.scan_iter() if not key.startswith(b"congrad:")]
    (served,) = http.get("/checkpoints").json()
    with connected(broker) as connection, connection.channel() as channel:
        for queue in (keys.DECIDE_QUEUE, keys.gradients_queue(served["fingerprint"])):
            found = channel.queue_declare(queue, passive=True)
            assert found.consumer_count > 0


def test_the_work_of_a_worker_that_is_killed_is_done_by_another(
    stack: SupervisedStack, http: httpx.Client, direction: str
) -> None:
    """Its message comes back at once, when the worker may still seem to be alive, and whoever gets it lets it be."""
    rows = copies(1)
    job_id = post(http, rows, direction)
    stack.wait_until(lambda: busy_worker(stack, job_id))
    part = busy_worker(stack, job_id)
    assert part is not None
    part.kill()
    assert_done_once(http, stack, job_id, rows)


def test_tasks_whose_messages_are_lost_are_sent_again(
    stack: SupervisedStack, http: httpx.Client, broker: str, direction: str
) -> None:
    rows = copies(1)
    (served,) = http.get("/checkpoints").json()
    job_id = post(http, rows, direction)
    with connected(broker) as connection, connection.channel() as channel:
        assert channel.queue_purge(keys.gradients_queue(served["fingerprint"])) > 0
    assert_done_once(http, stack, job_id, rows)


def test_the_service_sees_how_much_waits_and_a_queue_that_is_not_there_as_empty(broker: str) -> None:
    with connected(broker) as connection:
        connection.SimpleQueue("waiting").put({})
    queue = Queue(settings("redis://127.0.0.1:1/0", broker_url=broker))
    assert queue.lengths(["missing", "waiting", "missing too"]) == {"missing": 0, "waiting": 1, "missing too": 0}
    queue.close()


def test_one_that_hangs_is_not_waited_for_without_end(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections stand, and are not closed."""
    monkeypatch.setattr(sending, "ANSWER_S", 1.0)

    async def test() -> None:
        async with stopped_proxy(broker) as proxy:
            queue = Queue(settings("redis://127.0.0.1:1/0", broker_url=proxy.url))
            queue._app.conf.broker_connection_timeout = 0.5
            send = partial(queue.enqueue_chunk, "job", 0, "of nobody")
            await asyncio.to_thread(send)
            proxy.stop()
            with pytest.raises(OperationalError):
                await asyncio.wait_for(asyncio.to_thread(send), 30)
            proxy.go_on()
            await asyncio.to_thread(send)
            queue.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("address", "is_known", "is_taken"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("127.0.0.2", True, False)],
)
def test_tls_is_for_the_server_of_the_url_and_an_authority_that_is_known(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_known: bool, is_taken: bool
) -> None:
    certificates = make_certificates(tmp_path, address)
    if is_known:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    port = urlsplit(broker).port
    assert port is not None
    with tls_proxy(certificates, port) as tls_port:
        url = f"amqps://guest:guest@127.0.0.1:{tls_port}//"
        queue = Queue(settings("redis://127.0.0.1:1/0", broker_url=url))
        if is_taken:
            assert queue.lengths(["missing"]) == {"missing": 0}
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                queue.lengths(["missing"])
        queue.close()
