"""The workers' part, played in a thread: takes the tasks of one Redis from their queues, with random gradients."""

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from congrad_service import keys
from congrad_worker.direction import Samples
from congrad_worker.store import ChunkResult, Store

from support.serving import ANNOUNCEMENT, DIM, announce_workers, settings, settle

GRADIENTS = keys.gradients_queue(ANNOUNCEMENT.fingerprint)

LYING = 8


def arguments(message: bytes) -> list[Any]:
    """A task's arguments, of the message in which kombu has it."""
    body: list[list[Any]] = json.loads(base64.b64decode(json.loads(message)["body"]))
    return body[0]


def compute_chunk(store: Store, job_id: str, number: int) -> bool:
    """Leaves random gradients for a chunk, as a gradients task does; whether the job has all of them now."""
    status, _ = store.start(job_id, f"gradients:{number}")
    chunk = store.chunk(job_id, number) if status == "running" else None
    if chunk is None:
        return False
    rows = np.random.default_rng(number).standard_normal((len(chunk), DIM)).astype(np.float32)
    gradients = Samples.of(rows, [sample.language for sample in chunk])
    ids = [str(sample.id) for sample in chunk]
    store.put_gradients(job_id, number, ChunkResult(ids, gradients, [False] * len(ids), []))
    return store.complete(job_id, number) == 0


class Lying:
    """Jobs that nobody has taken up yet: of those that do not update, so that tests find some to cancel."""

    def __init__(self, store: Store):
        self._store = store
        self._tasks: deque[list[Any]] = deque()

    def next(self, task: list[Any]) -> list[Any] | None:
        """The task to do instead of this one; None for now."""
        if self._store.redis.hget(keys.job(task[0]), "update") == b"1" or len(task) == 1:
            return task
        self._tasks.append(task)
        return self._tasks.popleft() if len(self._tasks) > LYING else None


def work(redis_url: str, stopped: threading.Event) -> None:
    """Does tasks until it is stopped, announced as a worker of each role."""
    store = Store(settings(redis_url))
    lying = Lying(store)
    while not stopped.is_set():
        announce_workers(redis_url)
        popped = cast("tuple[bytes, bytes] | None", store.redis.blpop([GRADIENTS, keys.DECIDE_QUEUE], timeout=1))
        if popped is None:
            continue
        if (task := lying.next(arguments(popped[1]))) is None:
            continue
        job_id, *chunk = task
        if not chunk or compute_chunk(store, job_id, *chunk):
            settle(store, job_id)
    store.redis.close()


@contextmanager
def hands(redis_url: str) -> Iterator[None]:
    """Has the tasks of ``redis_url`` done meanwhile."""
    announce_workers(redis_url)
    stopped = threading.Event()
    thread = threading.Thread(target=work, args=(redis_url, stopped))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
