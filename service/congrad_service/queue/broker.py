"""What lies in the broker: which tasks wait, and which were handed out and are not acknowledged.

Redis shows both. Other brokers show how many messages wait in a queue, and not which.
"""

import asyncio
import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from congrad_service import keys

UNACKED = "unacked"
"""kombu's name for a hash of messages by delivery tag, of all queues."""

Task = tuple[str | int, ...]
"""The name of a task and its arguments."""


@dataclass(frozen=True)
class Messages:
    """Our tasks: in some queues, and those that a worker has been handed. What is in the ``closed`` queues is not
    known, except that there is something."""

    waiting: frozenset[Task] = frozenset()
    delivered: frozenset[Task] = frozenset()
    closed: frozenset[str] = frozenset()


async def messages(broker: Redis, queues: Iterable[str]) -> Messages:
    """Reads the queues as they are."""
    async with broker.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.lrange(queue, 0, -1)
        pipe.hvals(UNACKED)
        *lists, unacked = await pipe.execute()
    return await asyncio.to_thread(_read, lists, unacked)  # there can be thousands


def _read(lists: Sequence[Sequence[bytes]], unacked: Sequence[bytes]) -> Messages:
    waiting = (_task(text) for texts in lists for text in texts)
    delivered = (_task(text, is_noted=True) for text in unacked)
    return Messages(frozenset(filter(None, waiting)), frozenset(filter(None, delivered)))


def _task(text: bytes, is_noted: bool = False) -> Task | None:
    """Of a message of Celery's protocol; None for those of other applications."""
    try:
        message: Any = json.loads(text)
        message = message[0] if is_noted else message
        name, arguments = message["headers"]["task"], json.loads(base64.b64decode(message["body"]))[0]
        is_ours = name in (keys.GRADIENTS_TASK, keys.DECIDE_TASK) and all(isinstance(a, str | int) for a in arguments)
        return (name, *arguments) if is_ours else None
    except (KeyError, IndexError, TypeError, ValueError):
        return None
