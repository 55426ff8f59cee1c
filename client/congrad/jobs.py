"""Jobs: what a request of pairs becomes when nobody waits for its answer."""

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol, TypeVar

from congrad import calls, wire
from congrad.calls import JOB, Call, Send
from congrad.filtering import whole
from congrad.policy import Policy
from congrad.requests import Options, SampleLike, SelectionLike, rescoring

T = TypeVar("T")


class Run(Protocol):
    """Drives a call to its end."""

    def __call__(self, call: Call[T]) -> T: ...


class AsyncRun(Protocol):
    """Drives a call to its end."""

    async def __call__(self, call: Call[T]) -> T: ...


class Follow(Protocol):
    """Opens a job's stream of events."""

    def __call__(self, job_id: str) -> Iterator[wire.Job]: ...


class AsyncFollow(Protocol):
    """Opens a job's stream of events."""

    def __call__(self, job_id: str) -> AsyncIterator[wire.Job]: ...


class Jobs:
    """The jobs of a service: ``client.jobs``."""

    def __init__(self, run: Run, follow: Follow, policy: Policy):
        self._run = run
        self._follow = follow
        self._policy = policy

    def submit(
        self,
        samples: Iterable[SampleLike],
        *,
        direction: str = "default",
        update: bool = True,
        selection: SelectionLike | None = None,
        checkpoint: str | None = None,
        retain: bool = False,
        idempotency_key: str | None = None,
    ) -> wire.Job:
        """Sends one batch and does not wait for its decisions.

        :param retain: keep the gradients when the job has ended, so that it can be scored again.
        :raises CongradError: the service does not take it.
        """
        options = Options(direction, update, selection, checkpoint, retain)
        return self._run(_submit(samples, options, idempotency_key, self._policy))

    def get(self, job_id: str) -> wire.Job:
        """The state of a job."""
        return self._run(_get(job_id, self._policy))

    def reload(self, job: wire.Job) -> wire.Job:
        """The state of a job now."""
        return self.get(job.id)

    def wait(self, job: wire.Job) -> wire.FilterResult:
        """Its decisions, once there are any.

        :raises JobFailedError: it failed.
        :raises JobCancelledError: it was cancelled.
        :raises JobNotFinishedError: it has not ended in time.
        """
        return self._run(calls.wait(job, self._policy, downtime=self._policy.max_downtime))

    def cancel(self, job: wire.Job) -> wire.Job:
        """Cancels a job. One that has not been folded in never will be.

        :raises ConflictError: it has ended.
        """
        return self._run(_cancel(job.id, self._policy))

    def events(self, job: wire.Job) -> Iterator[wire.Job]:
        """The job at each change, its progress included, from now to its end."""
        return self._follow(job.id)

    def rescore(
        self,
        job: wire.Job | str,
        *,
        selection: SelectionLike | None = None,
        retain: bool = False,
        idempotency_key: str | None = None,
    ) -> wire.FilterResult:
        """Scores a job's samples against the direction as it stands now, and changes nothing.

        :param job: a job that was sent with ``retain``, or its id.
        :param retain: keep the gradients once more.
        :raises ConflictError: its gradients were not kept, or no longer.
        """
        return self._run(_rescore(job, selection, retain, idempotency_key, self._policy))


class AsyncJobs:
    """`Jobs`, asynchronously."""

    def __init__(self, run: AsyncRun, follow: AsyncFollow, policy: Policy):
        self._run = run
        self._follow = follow
        self._policy = policy

    async def submit(
        self,
        samples: Iterable[SampleLike],
        *,
        direction: str = "default",
        update: bool = True,
        selection: SelectionLike | None = None,
        checkpoint: str | None = None,
        retain: bool = False,
        idempotency_key: str | None = None,
    ) -> wire.Job:
        """See `Jobs.submit`."""
        options = Options(direction, update, selection, checkpoint, retain)
        return await self._run(_submit(samples, options, idempotency_key, self._policy))

    async def get(self, job_id: str) -> wire.Job:
        """See `Jobs.get`."""
        return await self._run(_get(job_id, self._policy))

    async def reload(self, job: wire.Job) -> wire.Job:
        """See `Jobs.reload`."""
        return await self.get(job.id)

    async def wait(self, job: wire.Job) -> wire.FilterResult:
        """See `Jobs.wait`."""
        return await self._run(calls.wait(job, self._policy, downtime=self._policy.max_downtime))

    async def cancel(self, job: wire.Job) -> wire.Job:
        """See `Jobs.cancel`."""
        return await self._run(_cancel(job.id, self._policy))

    def events(self, job: wire.Job) -> AsyncIterator[wire.Job]:
        """See `Jobs.events`."""
        return self._follow(job.id)

    async def rescore(
        self,
        job: wire.Job | str,
        *,
        selection: SelectionLike | None = None,
        retain: bool = False,
        idempotency_key: str | None = None,
    ) -> wire.FilterResult:
        """See `Jobs.rescore`."""
        return await self._run(_rescore(job, selection, retain, idempotency_key, self._policy))


def _submit(samples: Iterable[SampleLike], options: Options, key: str | None, policy: Policy) -> Call[wire.Job]:
    send = whole(samples).send(options, key or uuid.uuid4().hex)
    send = Send(send.method, send.path, send.content, {**send.headers, "Prefer": "respond-async"})
    answer = yield from calls.request(send, calls.answer_of, policy)
    if isinstance(answer, wire.Job):
        return answer
    return (yield from _get(answer.job_id, policy))  # an earlier one of the same key, which has its answer already


def _get(job_id: str, policy: Policy) -> Call[wire.Job]:
    return calls.request(Send("GET", f"/jobs/{job_id}"), JOB, policy)


def _cancel(job_id: str, policy: Policy) -> Call[wire.Job]:
    return calls.request(Send("DELETE", f"/jobs/{job_id}"), JOB, policy)


def _rescore(
    job: wire.Job | str, selection: SelectionLike | None, retain: bool, key: str | None, policy: Policy
) -> Call[wire.FilterResult]:
    job_id = job if isinstance(job, str) else job.id
    send = rescoring(job_id, selection, retain, key or uuid.uuid4().hex)
    return calls.decide(send, policy, policy.max_downtime)
