"""What lies in the broker, where it is Redis: which tasks wait, and which were handed out and are not acknowledged."""

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

UNACKED = "unacked"
UNACKED_INDEX = "unacked_index"
"""kombu's names: a hash of messages by delivery tag, and a sorted set of these tags by the time of delivery."""

Task = tuple[Any, ...]
"""The name of a task and its arguments."""


@dataclass(frozen=True)
class Messages:
    """The tasks in some queues, and the time at which others were handed to a worker (seconds, by that worker's
    clock)."""

    waiting: frozenset[Task]
    delivered: dict[Task, float]


async def messages(broker: Redis, queues: Iterable[str]) -> Messages:
    """Reads the queues as they are."""
    async with broker.pipeline() as pipe:
        for queue in queues:
            pipe.lrange(queue, 0, -1)
        pipe.hgetall(UNACKED)
        pipe.zrange(UNACKED_INDEX, 0, -1, withscores=True)
        *lists, unacked, index = await pipe.execute()
    return await asyncio.to_thread(_read, lists, unacked, dict(index))  # there can be thousands


def _read(lists: Sequence[Sequence[bytes]], unacked: Mapping[bytes, bytes], times: Mapping[bytes, float]) -> Messages:
    waiting = {_task(json.loads(text)) for texts in lists for text in texts}
    delivered = {
        task: times[tag]
        for tag, text in unacked.items()
        if tag in times and (task := _task(json.loads(text)[0])) is not None
    }
    return Messages(frozenset(task for task in waiting if task is not None), delivered)


def _task(message: dict[str, Any]) -> Task | None:
    """Of a message of Celery's protocol; None for one that is not ours."""
    try:
        arguments = json.loads(base64.b64decode(message["body"]))[0]
        return (message["headers"]["task"], *arguments)
    except (KeyError, TypeError, ValueError):
        return None
