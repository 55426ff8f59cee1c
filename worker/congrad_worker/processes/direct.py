"""Work that is taken as soon as it waits, before its message comes.

A message goes through the broker, a worker's parent and a pipe to the child, which takes longer than the decision of a
small job. So a child that has nothing to do waits in Redis as well, and is told when there is work which nobody else
waits beside. It takes that in its turn, starts and completes it like any other; the message comes all the same, and
finds nothing to do. Where there is more work than that, messages drive it, so that they do not pile up. But a message
may have gone to a worker that is at something which it has taken so, and wait there: who is told nothing for a while
takes what it finds.

What is taken so has no message of its own to come again: if the worker dies, `recovery` misses it, as it does what was
taken along with another piece.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery.exceptions import Reject
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from congrad_worker.errors import ShardStoreError
from congrad_worker.processes.celery_app import OUTAGE_PAUSE_S, SOFT_SHUTDOWN_S
from congrad_worker.tasks.store import Store

WAIT_S = 1.0
"""For how long Redis is asked to tell: the queue may be another one then. And so long something waits, at most, that a
worker with nothing to do is not told of."""

log = logging.getLogger(__name__)


class Direct:
    """Takes work until it is stopped.

    :param queue: where it may wait; None as long as none is to be taken so.
    :param work: does what waits there, if there is anything; given True, only what no other waits beside.
    """

    def __init__(self, store: Store, queue: Callable[[], str | None], work: Callable[[bool], object]):
        self._store = store
        self._queue = queue
        self._work = work
        self._lock = threading.Lock()  # of who works
        self._free = threading.Event()  # no message is there
        self._free.set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="direct", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> bool:
        """Ends once what is being done is done; whether that was before a worker which is told to stop gives up."""
        self._stopped.set()
        has_ended = self._lock.acquire(timeout=SOFT_SHUTDOWN_S)
        if has_ended:
            self._lock.release()
        return has_ended

    @contextmanager
    def message(self) -> Iterator[None]:
        """A message is worked on for the time of the block, and nothing beside it."""
        self._free.clear()
        try:
            with self._lock:
                yield
        finally:
            self._free.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._take()
            except (RedisError, OperationalError, ShardStoreError, Reject) as error:  # its message is another try
                log.warning("what waits is left to its message: %s", error)
                self._stopped.wait(OUTAGE_PAUSE_S)
            except Exception:
                log.exception("what waits is left to its message")
                self._stopped.wait(OUTAGE_PAUSE_S)

    def _take(self) -> None:
        queue = self._queue()
        if queue is None:
            self._stopped.wait(WAIT_S)
        elif self._free.wait(WAIT_S):
            is_told = self._store.is_told(queue, WAIT_S)
            if is_told or self._is_left(queue):
                with self._lock:
                    if not self._stopped.is_set():
                        self._work(is_told)

    def _is_left(self, queue: str) -> bool:
        """Whether there is something for this worker, which nobody has told it of. It looks before it does anything: a
        checkpoint that has nothing to do is not used, and goes to sleep."""
        return self._free.is_set() and self._queue() == queue and self._store.has_waiting(queue)
