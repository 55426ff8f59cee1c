"""A thread that says, every second, that the process which computes is there, and what it is at."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from congrad.contract import wire
from congrad_service.queue.registry import HEARTBEAT_S, Announcement, Beat, Role, Status
from redis.exceptions import RedisError

from congrad_worker.activity import Activity
from congrad_worker.memory import memory_of
from congrad_worker.processes import liveness
from congrad_worker.tasks import metrics
from congrad_worker.tasks.store import Store

log = logging.getLogger(__name__)


class Rest(NamedTuple):
    """How deep a worker sleeps, and the number of what it was told last."""

    asleep: wire.SleepLevel | None = None
    order: int = 0


class Heartbeat:
    """Announces one worker until it is stopped.

    :param announcement: what a gradients worker serves; None for a decide worker.
    :param activity: what its process does; None where it does nothing.
    :param rest: says whether it sleeps.
    """

    def __init__(
        self,
        store: Store,
        role: Role,
        announcement: Announcement | None = None,
        activity: Activity | None = None,
        rest: Callable[[], Rest] = Rest,
    ):
        self._store = store
        self._role = role
        self._announcement = announcement
        self._activity = activity or Activity()
        self._rest = rest
        self._saying = threading.Lock()  # what was true a moment ago must not be said after what is true now
        self._started: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins; the first announcement is out when this returns, if Redis is there."""
        self.beat()
        self._thread.start()

    def announce(self, announcement: Announcement) -> None:
        """The worker serves something else from now on."""
        self._announcement = announcement
        self.beat()

    def stop(self) -> None:
        """Ends, and takes the announcement back."""
        self._stopped.set()
        self._thread.join()
        try:
            self._store.leases.leave(self._role)
        except RedisError as error:
            log.warning("could not take the announcement back; it lapses by itself (%s)", error)

    def _run(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S):
            self.beat()

    def beat(self) -> None:
        """Says it once more, at once."""
        try:
            with self._saying:
                self._store.leases.beat(self._role, self._said().model_dump_json())
            liveness.announced()
        except RedisError as error:
            metrics.HEARTBEATS_LOST.inc()
            log.warning("no heartbeat: %s", error)

    def _said(self) -> Beat:
        if self._started is None:
            self._started = self._store.now()
        activity, served = self._activity, self._announcement
        status = Status(
            started=self._started,
            busy=activity.is_busy,
            tasks=activity.tasks,
            tokens_per_s=activity.tokens_per_s,
            memory=memory_of(served.device if served is not None else None),
            **self._rest()._asdict(),
        )
        return Beat(announcement=served, status=status)
