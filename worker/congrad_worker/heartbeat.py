"""A thread that says, every second, that the process which computes is there, and what it is at."""

import logging
import threading

from congrad_service import keys
from congrad_service.registry import HEARTBEAT_S, LIFETIME_S, Announcement, Role
from redis.exceptions import RedisError

from congrad_worker.store import Store

log = logging.getLogger(__name__)


class Heartbeat:
    """Announces one worker until it is stopped.

    :param announcement: what a gradients worker serves; None for a decide worker.
    """

    def __init__(self, store: Store, role: Role, announcement: Announcement | None = None):
        self._store = store
        self._role = role
        self._announcement = announcement
        self._id = store.worker_id
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins; the first announcement is out when this returns, if Redis is there."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Ends, and takes the announcement back."""
        self._stopped.set()
        self._thread.join()
        try:
            with self._store.redis.pipeline() as pipe:
                pipe.zrem(keys.workers(self._role), self._id)
                pipe.delete(keys.worker(self._id))
                pipe.execute()
        except RedisError as error:
            log.warning("could not take the announcement back; it lapses by itself (%s)", error)

    def _run(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S):
            self._beat()

    def _beat(self) -> None:
        text = "{}" if self._announcement is None else self._announcement.model_dump_json()
        try:
            now = self._store.now()
            with self._store.redis.pipeline() as pipe:
                pipe.set(keys.worker(self._id), text, ex=LIFETIME_S)
                self._store.say(pipe)
                pipe.zadd(keys.workers(self._role), {self._id: now})
                pipe.zremrangebyscore(keys.workers(self._role), "-inf", now - LIFETIME_S)
                pipe.execute()
        except RedisError as error:
            log.warning("no heartbeat: %s", error)
