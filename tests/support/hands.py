"""The workers' part, played by the test: tasks are taken from their queues and done, with random gradients."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import redis
from congrad_service import keys
from congrad_worker.decisions.direction import Samples
from congrad_worker.tasks.records import ChunkResult
from congrad_worker.tasks.store import Store

from support.serving import ANNOUNCEMENT, DIM, announce_workers, settings, settle

QUEUES = [keys.gradients_queue(ANNOUNCEMENT.fingerprint), keys.DECIDE_QUEUE]

WAKE = b"wake"


def arguments(message: bytes) -> list[Any]:
    """A task's arguments, of the message in which kombu has it."""
    body: list[list[Any]] = json.loads(base64.b64decode(json.loads(message)["body"]))
    return body[0]


def compute_chunk(store: Store, job_id: str, number: int) -> bool:
    """Leaves random gradients for a chunk, as a gradients task does; whether the job has all of them now."""
    chunk = store.start(job_id, number).samples
    if chunk is None:
        return False
    rows = np.random.default_rng(number).standard_normal((len(chunk), DIM)).astype(np.float32)
    gradients = Samples.of(rows, [sample.language for sample in chunk])
    ids = [str(sample.id) for sample in chunk]
    return store.put_gradients(job_id, number, ChunkResult(ids, gradients, [False] * len(ids), [])) == 0


def do(store: Store, message: bytes) -> None:
    """Does a task as the worker that it is for."""
    job_id, *chunk = arguments(message)
    if not chunk or compute_chunk(store, job_id, *chunk):
        settle(store, job_id)


def do_all(store: Store) -> None:
    """Does the tasks that there are, and those that follow from them."""
    for queue in QUEUES:
        while (message := cast("bytes | None", store.redis.lpop(queue))) is not None:
            do(store, message)


def _work(redis_url: str, stopped: threading.Event) -> None:
    store = Store(settings(redis_url))
    while not stopped.is_set():
        announce_workers(redis_url)
        popped = cast("tuple[bytes, bytes] | None", store.redis.blpop(QUEUES, timeout=60))
        if popped is not None and popped[1] != WAKE:
            do(store, popped[1])
    store.redis.close()


@contextmanager
def hands(redis_url: str) -> Iterator[None]:
    """Has the tasks of ``redis_url`` done as they come, announced as a worker of each role."""
    announce_workers(redis_url)
    stopped = threading.Event()
    thread = threading.Thread(target=_work, args=(redis_url, stopped))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        with redis.Redis.from_url(redis_url) as connection:
            connection.rpush(keys.DECIDE_QUEUE, WAKE)
        thread.join()
