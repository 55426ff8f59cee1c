"""Has workers serve another checkpoint, and says how far they are with it."""

import uuid
from collections.abc import Mapping, Sequence
from typing import cast

from congrad.contract import wire
from redis.asyncio import Redis

from congrad_service import keys
from congrad_service.access.models import Allowed, NotAllowedError
from congrad_service.http.errors import RETRY_AFTER_S, Conflict, Forbidden, NotFound, Unavailable, Unprocessable
from congrad_service.queue.publication import Asked, asked_in, read
from congrad_service.queue.registry import Registry
from congrad_service.scripts import ASK
from congrad_service.settings import RedisSettings

TOLD_S = 60
"""How long a worker may take to look at what it was told to; it looks by itself every second."""


class Publications:
    """The publications of one Redis."""

    def __init__(self, redis: Redis, registry: Registry, settings: RedisSettings):
        self._redis = redis
        self._registry = registry
        self._allowed = Allowed(settings.models)
        self._ttl = settings.job_ttl
        self._ask = redis.register_script(ASK)

    async def ask(self, request: wire.PublishRequest) -> wire.Publication:
        """Has a checkpoint replaced. To ask for the same again, while it is under way, changes nothing.

        :raises Forbidden: it may not be loaded.
        :raises Unprocessable: it is neither a folder nor a name, or there are several that it could replace.
        :raises NotFound: no live worker serves what it should replace.
        :raises Conflict: something else is about to take that place.
        :raises Unavailable: no worker is there.
        """
        self._check(request)
        served = await self._registry.checkpoints()
        if (known := await self._known(request)) is not None:
            return known
        replaced = _replaced(request, served)
        earlier = replaced.publication
        if earlier is not None and not earlier.status.ended:
            if not (await self._asked(earlier.id)).is_same(request):
                raise Conflict(f"publication {earlier.id} is about to take the place of {replaced.name!r} already")
            return earlier
        return await self._begin(request, replaced, earlier.id if earlier is not None else "")

    async def get(self, publication_id: str) -> wire.Publication:
        """One as it stands.

        :raises NotFound: there is none, or no longer.
        """
        raw = cast("dict[bytes, bytes]", await self._redis.hgetall(keys.publication(publication_id)))
        if not raw:
            raise NotFound(f"there is no publication {publication_id!r}; they are kept for {self._ttl} s")
        return read(raw, await self._registry.serving())

    def _check(self, request: wire.PublishRequest) -> None:
        for field in ("model", "adapter"):
            try:
                if (source := getattr(request, field)) is not None:
                    self._allowed.check(source)
            except NotAllowedError as error:
                raise Forbidden(f"{field}: {error}") from None
            except ValueError as error:
                fault = wire.ProblemError(pointer=f"/{field}", detail=f"{field}: {error}")
                raise Unprocessable(fault.detail, [fault]) from None

    async def _known(self, request: wire.PublishRequest) -> wire.Publication | None:
        """That which has served the request already: its answer was lost, and it is sent again."""
        if request.replaces is None:
            return None
        found = cast("bytes | None", await self._redis.get(keys.publishing(request.replaces)))
        if found is None:
            return None
        raw = cast("dict[bytes, bytes]", await self._redis.hgetall(keys.publication(found.decode())))
        if not raw or not asked_in(raw).is_same(request):
            return None
        publication = read(raw, await self._registry.serving())
        return publication if publication.status is wire.PublicationStatus.SERVED else None

    async def _asked(self, publication_id: str) -> Asked:
        text = cast("bytes", await self._redis.hget(keys.publication(publication_id), "asked"))
        return Asked.model_validate_json(text)

    async def _begin(self, request: wire.PublishRequest, replaced: wire.Checkpoint, earlier: str) -> wire.Publication:
        seconds, micros = await self._redis.time()
        asked = Asked(
            id=uuid.uuid4().hex,
            replaces=replaced.fingerprint,
            model=request.model,
            adapter=request.adapter,
            created=seconds + micros / 1e6,
            sequence=int(await self._redis.get(keys.SEQUENCE) or 0),
        )
        own = [keys.publishing(replaced.fingerprint), keys.publication(asked.id)]
        if not await self._ask(keys=own, args=[earlier, asked.id, asked.model_dump_json(), self._ttl]):
            return await self._faster(request, replaced)
        await tell(self._redis, await self._registry.serving(), replaced.fingerprint)
        return await self.get(asked.id)

    async def _faster(self, request: wire.PublishRequest, replaced: wire.Checkpoint) -> wire.Publication:
        """What somebody else has asked for meanwhile: the processes of one training run may all ask for the same.

        :raises Conflict: it is something else.
        """
        found = cast("bytes | None", await self._redis.get(keys.publishing(replaced.fingerprint)))
        if found is None or not (await self._asked(found.decode())).is_same(request):
            raise Conflict(f"something else was published in the place of {replaced.name!r} just now")
        return await self.get(found.decode())


async def tell(redis: Redis, live: Mapping[str, str], fingerprint: str) -> None:
    """Has the workers of a checkpoint look at what there is for them to do."""
    async with redis.pipeline(transaction=False) as pipe:
        for worker, serves in live.items():
            if serves == fingerprint:
                pipe.rpush(keys.told(worker), "1")
                pipe.expire(keys.told(worker), TOLD_S)
        await pipe.execute()


def _replaced(request: wire.PublishRequest, served: Sequence[wire.Checkpoint]) -> wire.Checkpoint:
    if not served:
        raise Unavailable("no worker is ready", retry_after=RETRY_AFTER_S)
    names = ", ".join(f"{one.name} ({one.fingerprint})" for one in served)
    found = [one for one in served if request.replaces in (None, one.name, one.fingerprint)]
    if not found:
        raise NotFound(f"no worker serves checkpoint {request.replaces!r}, which it should replace; served: {names}")
    if len(found) > 1:
        detail = f"several checkpoints are served; say which to replace in 'replaces': {names}"
        raise Unprocessable(detail, [wire.ProblemError(pointer="/replaces", detail="is needed to choose one")])
    return found[0]
