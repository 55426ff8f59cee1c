"""What lies in the broker: how many messages wait in a queue, and which were handed out and are not acknowledged.

Redis shows both. Other brokers show how many wait.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

UNACKED = "unacked"
"""kombu's name for a hash of messages by delivery tag, of all queues."""


@dataclass(frozen=True)
class Messages:
    """How many wait, by queue; and the delivery tags of those that a worker has been handed, with their queues."""

    waiting: dict[str, int]
    handed_out: dict[str, str] = field(default_factory=dict)


async def messages(broker: Redis, queues: Sequence[str]) -> Messages:
    """Looks at some queues."""
    async with broker.pipeline(transaction=False) as pipe:
        for queue in queues:
            pipe.llen(queue)
        pipe.hgetall(UNACKED)  # as many as there are workers, and those of workers that were killed
        *lengths, unacked = await pipe.execute()
    noted = {tag.decode(): queue for tag, text in unacked.items() if (queue := _queue_of(text)) in queues}
    return Messages(dict(zip(queues, lengths, strict=True)), noted)


def _queue_of(text: bytes) -> str:
    """That of a message as kombu notes it; '' for what is none."""
    try:
        noted: Any = json.loads(text)
        return str(noted[2])
    except (IndexError, KeyError, TypeError, ValueError):
        return ""
