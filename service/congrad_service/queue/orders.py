"""What workers are told to do: to sleep, and to wake."""

from congrad.contract import wire
from pydantic import BaseModel
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.http.errors import RETRY_AFTER_S, NotFound, Unavailable
from congrad_service.queue.publications import TOLD_S
from congrad_service.queue.registry import Registry

ORDER_S = 3600
"""How long an order is good for: a worker that is at work for longer is not put to sleep by it any more."""


class Order(BaseModel):
    """One of them: the level to sleep at, or None to wake. The one with the highest ``number`` counts."""

    number: int
    level: wire.SleepLevel | None


async def give(redis: Redis, registry: Registry, checkpoint: str | None, level: wire.SleepLevel | None) -> wire.Order:
    """Tells the live gradients workers of a checkpoint, or all of them, to sleep or to wake.

    :param checkpoint: name or fingerprint.
    :raises NotFound: none of them serves it.
    :raises Unavailable: none is there.
    """
    live = await registry.served()
    served = {one.fingerprint for one in live if checkpoint in (None, one.name, one.fingerprint)}
    workers = [worker for worker, serves in (await registry.serving()).items() if serves in served]
    if not workers and live and checkpoint is not None:
        raise NotFound(f"no worker serves {checkpoint!r}")
    if not workers:
        raise Unavailable("no gradients worker is live", retry_after=RETRY_AFTER_S)
    number = await redis.incr(keys.ORDERS)
    async with redis.pipeline(transaction=False) as pipe:
        for worker in workers:
            pipe.set(keys.order(worker), Order(number=number, level=level).model_dump_json(), ex=ORDER_S)
            pipe.rpush(keys.told(worker), "1")
            pipe.expire(keys.told(worker), TOLD_S)
        await pipe.execute()
    return wire.Order(number=number, workers=workers)
