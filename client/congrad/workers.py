"""Workers: what they do, their sleep and their waking: ``client.workers``."""

import builtins
from itertools import count

from congrad.contract import wire
from congrad.contract.validation.asked import asked
from congrad.errors import APITimeoutError
from congrad.protocol import calls
from congrad.protocol.answers.replies import ORDER, WORKERS
from congrad.protocol.calls import AsyncRun, Call, Deadline, HttpRequest, Pause, Run
from congrad.protocol.policy import Policy

PATIENCE_S = 600.0
"""How long workers may take: to sleep, as what waits is done first; to wake, as they may have to read their files."""

POLL_S = (0.05, 1.0)
"""Between two looks, at first and at most."""


class Workers:
    """The workers of a service. Called, it lists them, as `list` does."""

    def __init__(self, run: Run, policy: Policy):
        self._run = run
        self._policy = policy

    def __call__(self) -> list[wire.Worker]:
        """What the live workers serve, and how they are doing."""
        return self._run(_list(self._policy))

    def list(self) -> builtins.list[wire.Worker]:
        """What the live workers serve, and how they are doing."""
        return self._run(_list(self._policy))

    def sleep(
        self, checkpoint: str | None = None, level: wire.SleepLevel = "offload", *, timeout: float = PATIENCE_S
    ) -> None:
        """Has workers that compute gradients give their device's memory back, and waits until they have. A task that
        comes wakes one by itself.

        :param checkpoint: name or fingerprint of what they serve; None for all.
        :param level: ``offload`` keeps the weights in the host's memory, ``discard`` in their files alone.
        :raises ValueError: there is no such level.
        :raises NotFoundError: no worker serves it.
        :raises APITimeoutError: they have not within ``timeout`` seconds. They will, once they have nothing to do.
        """
        request: wire.SleepRequest = asked(wire.SleepRequest, {"checkpoint": checkpoint, "level": level}, "sleep")
        self._run(_told("sleep", request.model_dump_json(exclude_none=True), timeout, self._policy))

    def wake(self, checkpoint: str | None = None, *, timeout: float = PATIENCE_S) -> None:
        """Has workers that sleep take up their weights again, before there is work, and waits until they have.

        :raises NotFoundError: no worker serves the checkpoint.
        :raises APITimeoutError: they have not within ``timeout`` seconds.
        """
        request: wire.WakeRequest = asked(wire.WakeRequest, {"checkpoint": checkpoint}, "wake")
        self._run(_told("wake", request.model_dump_json(exclude_none=True), timeout, self._policy))


class AsyncWorkers:
    """`Workers`, asynchronously."""

    def __init__(self, run: AsyncRun, policy: Policy):
        self._run = run
        self._policy = policy

    async def __call__(self) -> list[wire.Worker]:
        """See `Workers.list`."""
        return await self._run(_list(self._policy))

    async def list(self) -> builtins.list[wire.Worker]:
        """See `Workers.list`."""
        return await self._run(_list(self._policy))

    async def sleep(
        self,
        checkpoint: str | None = None,
        level: wire.SleepLevel = "offload",
        *,
        timeout: float = PATIENCE_S,  # noqa: ASYNC109 # the same as the other client's
    ) -> None:
        """See `Workers.sleep`."""
        request: wire.SleepRequest = asked(wire.SleepRequest, {"checkpoint": checkpoint, "level": level}, "sleep")
        await self._run(_told("sleep", request.model_dump_json(exclude_none=True), timeout, self._policy))

    async def wake(
        self,
        checkpoint: str | None = None,
        *,
        timeout: float = PATIENCE_S,  # noqa: ASYNC109 # the same as the other client's
    ) -> None:
        """See `Workers.wake`."""
        request: wire.WakeRequest = asked(wire.WakeRequest, {"checkpoint": checkpoint}, "wake")
        await self._run(_told("wake", request.model_dump_json(exclude_none=True), timeout, self._policy))


def _list(policy: Policy, deadline: Deadline | None = None, downtime: float = 0.0) -> Call[list[wire.Worker]]:
    return calls.request(HttpRequest("GET", "/workers"), WORKERS, policy, deadline=deadline, downtime=downtime)


def _told(what: str, body: str, seconds: float, policy: Policy) -> Call[None]:
    """Gives an order, and looks until every worker that it was given to has done it, or is gone: a worker that is
    started again is awake, and knows of no order."""
    deadline = Deadline(seconds)
    send = HttpRequest("POST", f"/workers/{what}", body.encode(), {"Content-Type": "application/json"})
    order = yield from calls.request(send, ORDER, policy)
    for attempt in count():
        workers = {worker.id: worker for worker in (yield from _list(policy, deadline, policy.max_downtime))}
        late = [name for name in order.workers if name in workers and workers[name].order < order.number]
        if not late:
            return
        pause = min(POLL_S[0] * 1.3 ** min(attempt, 20), POLL_S[1])
        if deadline.left <= pause:
            raise APITimeoutError(f"after {seconds:g} s these workers have yet to {what}: {', '.join(late)}")
        yield Pause(pause)
