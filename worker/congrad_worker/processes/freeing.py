"""A thread that takes files of the gradient store away which no job needs any more."""

import logging
import threading

from redis.exceptions import RedisError

from congrad_worker.tasks.store import Store

SWEEP_S = 5.0
"""Between two looks, of each decide worker."""

log = logging.getLogger(__name__)


class Freeing:
    """Looks until it is stopped; decisions do not wait for it."""

    def __init__(self, store: Store):
        self._store = store
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="freeing", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what is being taken away may take a moment, and nobody waits for it."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(SWEEP_S):
            try:
                self._store.free_stored()
            except RedisError as error:  # the next look is another try
                log.warning("could not free what the gradient store has: %s", error)
