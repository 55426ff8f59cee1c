"""Whether Redis deletes what it has no room for. Managed ones do unless they are told not to, and then jobs are gone,
or directions, and nothing else says why."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from congrad_service.background import pause

PAUSE_S = 10.0
"""Until a Redis that did not answer is asked again."""

KEEPS = "noeviction"

log = logging.getLogger(__name__)


async def warn(redis: Redis, stopped: asyncio.Event) -> None:
    """Asks once, as soon as Redis answers, and has a line in the log where it deletes anything."""
    while not stopped.is_set():
        try:
            danger = danger_of(await redis.info("memory"))
        except ResponseError:  # its access list need not allow it
            return
        except RedisError:  # others say that it is away
            await pause(stopped, PAUSE_S)
            continue
        if danger is not None:
            log.warning("%s", danger)
        return


def danger_of(memory: Mapping[str, Any]) -> str | None:
    """What a Redis with this section of its `INFO` may lose; None where that is nothing."""
    policy = memory.get("maxmemory_policy", KEEPS)
    if policy == KEEPS or not memory.get("maxmemory"):
        return None
    lost = "jobs and directions" if policy.startswith("allkeys") else "jobs that are under way, and answers"
    return (
        f"Redis has maxmemory-policy {policy}: once its memory is full it deletes {lost} without a word. "
        f"Set it to {KEEPS}"
    )
