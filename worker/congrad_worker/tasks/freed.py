"""Files of the gradient store that no job needs any more are taken away."""

import logging
import time
from contextlib import suppress
from typing import cast

from congrad_service import keys
from redis import Redis
from redis.exceptions import LockNotOwnedError

from congrad_worker.errors import ShardStoreError
from congrad_worker.tasks.shelf import Shelf

FREEING_S = 60
"""After this another worker takes files away, if the one that does has died in the middle."""

FREED_AT_ONCE = 100
"""Jobs whose files are taken away in one turn."""

STUCK_S = 60
"""Until files that could not be taken away are tried again."""

log = logging.getLogger(__name__)


def free(redis: Redis, shelf: Shelf, again_s: float) -> None:
    """Takes away what is due; of several workers, one at a time.

    A folder is looked at again after a while, though nothing was there: a worker that was slower than its job may have
    written there since. One that cannot be taken away now holds up no other.

    :param again_s: until that second look.
    """
    now = _now(redis)
    _forget(redis, shelf, now)
    lock = redis.lock(keys.FREEING, timeout=FREEING_S, blocking=False)
    if not lock.acquire():
        return
    until = time.monotonic() + FREEING_S / 2
    try:
        due = cast("list[bytes]", redis.zrangebyscore(keys.STORED, "-inf", now, 0, FREED_AT_ONCE))
        for member in (one.decode() for one in due):
            if time.monotonic() < until:  # a store that is away takes its time to say so
                _free(redis, shelf, member, now, again_s)
    finally:
        with suppress(LockNotOwnedError):  # it has lapsed, and may be another's
            lock.release()


def _now(redis: Redis) -> float:
    seconds, micros = redis.time()
    return seconds + micros / 1e6


def _forget(redis: Redis, shelf: Shelf, now: float) -> None:
    """Takes out of this worker's memory what may go from the store, whichever worker takes it away there."""
    if jobs := list(shelf.jobs):
        until = redis.zmscore(keys.STORED, jobs)
        shelf.forget({job for job, score in zip(jobs, until, strict=True) if score is None or score <= now})


def _free(redis: Redis, shelf: Shelf, member: str, now: float, again_s: float) -> None:
    """Takes a job's folder away. Unless that was its second look, and nothing was there, it notes when the next is:
    under another name, so that whoever writes there meanwhile finds its job unknown, and makes it known."""
    job_id = member.removesuffix(keys.AGAIN)
    try:
        is_over = not shelf.shards.free(job_id) and member != job_id
    except ShardStoreError as error:
        log.warning("the files of job %s cannot be taken away now: %s", job_id, error)
        again_s, is_over = STUCK_S, False
    with redis.pipeline() as pipe:
        pipe.zrem(keys.STORED, member)
        if not is_over:
            pipe.zadd(keys.STORED, {job_id + keys.AGAIN: now + again_s})
        pipe.execute()
