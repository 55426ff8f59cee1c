"""Checkpoints that are served, and that take the place of others: ``client.checkpoints``."""

import builtins
import os
from itertools import count
from urllib.parse import quote

from congrad.contract import wire
from congrad.contract.validation.asked import asked
from congrad.errors import APITimeoutError, PublicationFailedError
from congrad.protocol import calls
from congrad.protocol.answers.replies import CHECKPOINTS, PUBLICATION, nothing
from congrad.protocol.calls import AsyncRun, Call, Deadline, HttpRequest, Pause, Run
from congrad.protocol.policy import Policy

LOADING_S = 3600.0
"""How long a checkpoint may take: to load as long as a worker may that starts, and until then what waits before it."""

Path = str | os.PathLike[str]

POLL_S = (0.05, 1.0)
"""Between two looks, at first and at most: an adapter is there at once, and a large model takes minutes."""


class Checkpoints:
    """The checkpoints of a service. Called, it lists them, as `list` does."""

    def __init__(self, run: Run, policy: Policy):
        self._run = run
        self._policy = policy

    def __call__(self) -> list[wire.Checkpoint]:
        """What the live workers serve."""
        return self._run(_list(self._policy))

    def list(self) -> builtins.list[wire.Checkpoint]:
        """What the live workers serve."""
        return self._run(_list(self._policy))

    def publish(
        self,
        *,
        model: Path | None = None,
        adapter: Path | None = None,
        replaces: str | None = None,
        timeout: float = LOADING_S,
    ) -> wire.Checkpoint:
        """Has the workers of one checkpoint serve another, and waits until they do. What waits for the old one is done
        first; the old one is served on where the new one cannot be.

        :param model: a folder, as the workers see it, or a name on the Hugging Face hub; without it the base stays that
            the workers have in memory.
        :param adapter: a PEFT adapter, likewise.
        :param replaces: name or fingerprint of the old one; not needed where the workers serve one only.
        :param timeout: seconds until it has to be served.
        :returns: the checkpoint, whose ``fingerprint`` requests may name as their ``checkpoint``.
        :raises ValueError: neither a model nor an adapter is named, or one of the names cannot be.
        :raises PublicationFailedError: it cannot be served, and why.
        :raises PermissionDeniedError: the token's role does not include this, or the operator has not allowed the path.
        :raises APITimeoutError: it is not served in time. It is still on its way.
        """
        return self._run(_publish(_request(model, adapter, replaces), timeout, self._policy))

    def forget(self, fingerprint: str) -> None:
        """Has no more requests wait for a checkpoint that nobody serves any more, where the service takes them.

        :raises ConflictError: a worker serves it.
        :raises NotFoundError: it is not remembered.
        """
        self._run(_forget(fingerprint, self._policy))


class AsyncCheckpoints:
    """`Checkpoints`, asynchronously."""

    def __init__(self, run: AsyncRun, policy: Policy):
        self._run = run
        self._policy = policy

    async def __call__(self) -> list[wire.Checkpoint]:
        """See `Checkpoints.list`."""
        return await self._run(_list(self._policy))

    async def list(self) -> builtins.list[wire.Checkpoint]:
        """See `Checkpoints.list`."""
        return await self._run(_list(self._policy))

    async def publish(
        self,
        *,
        model: Path | None = None,
        adapter: Path | None = None,
        replaces: str | None = None,
        timeout: float = LOADING_S,  # noqa: ASYNC109 # the same as the other client's
    ) -> wire.Checkpoint:
        """See `Checkpoints.publish`."""
        return await self._run(_publish(_request(model, adapter, replaces), timeout, self._policy))

    async def forget(self, fingerprint: str) -> None:
        """See `Checkpoints.forget`."""
        await self._run(_forget(fingerprint, self._policy))


def _request(model: Path | None, adapter: Path | None, replaces: str | None) -> wire.PublishRequest:
    if model is None and adapter is None:
        raise ValueError("publish: neither a model nor an adapter is named; it takes one of them, or both")
    given = {"model": model, "adapter": adapter, "replaces": replaces}
    for key, it in given.items():
        if not isinstance(it, str | os.PathLike | None):  # such as a model of torch in place of its folder
            raise TypeError(f"publish: {key} is {type(it).__name__}; it should be a path or a name")
    paths = {key: os.fspath(it) for key, it in given.items() if it is not None}
    request: wire.PublishRequest = asked(wire.PublishRequest, paths, "publish")
    return request


def _list(policy: Policy) -> Call[list[wire.Checkpoint]]:
    return calls.request(HttpRequest("GET", "/checkpoints"), CHECKPOINTS, policy)


def _forget(fingerprint: str, policy: Policy) -> Call[None]:
    return calls.request(HttpRequest("DELETE", f"/checkpoints/{quote(fingerprint, safe='')}"), nothing, policy)


def _publish(asked: wire.PublishRequest, seconds: float, policy: Policy) -> Call[wire.Checkpoint]:
    deadline = Deadline(seconds)
    asked = yield from _with_fingerprint(asked, policy)
    body = asked.model_dump_json(exclude_none=True).encode()
    send = HttpRequest("POST", "/checkpoints", body, {"Content-Type": "application/json"})
    publication = yield from calls.request(send, PUBLICATION, policy)
    for attempt in count():
        if publication.status is wire.PublicationStatus.FAILED:
            raise PublicationFailedError(publication)
        if publication.status is wire.PublicationStatus.SERVED:
            served = yield from _list(policy)
            found = [one for one in served if one.fingerprint == publication.fingerprint]
            if found:
                return found[0]
        pause = min(POLL_S[0] * 1.3 ** min(attempt, 20), POLL_S[1])
        if deadline.left <= pause:
            raise APITimeoutError(_late(publication, seconds))
        yield Pause(pause)
        look = HttpRequest("GET", f"/publications/{publication.id}")
        publication = yield from calls.request(
            look, PUBLICATION, policy, deadline=deadline, downtime=policy.max_downtime
        )
    raise AssertionError("the last look returns or raises")


def _with_fingerprint(asked: wire.PublishRequest, policy: Policy) -> Call[wire.PublishRequest]:
    """The request with the fingerprint of what it names. Where the answer is lost and it is sent again, nobody may
    serve anything of that name any more; of a fingerprint the service knows what has taken its place."""
    if asked.replaces is None:
        return asked
    served = yield from _list(policy)
    if any(one.fingerprint == asked.replaces for one in served):
        return asked
    named = [one.fingerprint for one in served if one.name == asked.replaces and one.workers]
    return asked.model_copy(update={"replaces": named[0]}) if len(named) == 1 else asked


def _late(publication: wire.Publication, seconds: float) -> str:
    stages = ", ".join(f"{one.worker} is {one.stage}" for one in publication.workers) or "no worker has begun"
    return f"publication {publication.id} is {publication.status} after {seconds:g} s: {stages}; it goes on"
