"""Jobs: what a request of pairs becomes when nobody waits for its answer."""

import uuid
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Protocol, Unpack
from urllib.parse import quote

from congrad.contract import wire
from congrad.protocol import calls
from congrad.protocol.answers.replies import JOB, JOBS, answer_of
from congrad.protocol.calls import AsyncRun, Call, HttpRequest, Run, job_path
from congrad.protocol.filtering import whole
from congrad.protocol.options import Options, RequestOptions, SelectionLike
from congrad.protocol.policy import Policy
from congrad.protocol.requests import Samples, rescore_request


class Follow(Protocol):
    """Opens a job's stream of events."""

    def __call__(self, job_id: str) -> Generator[wire.Job]: ...


class AsyncFollow(Protocol):
    """Opens a job's stream of events."""

    def __call__(self, job_id: str) -> AsyncGenerator[wire.Job]: ...


JobLike = wire.Job | wire.JobSummary | str
"""A job, as ``jobs.get`` or as ``jobs.list`` has it, or its id."""


class Jobs:
    """The jobs of a service: ``client.jobs``."""

    def __init__(self, run: Run, follow: Follow, policy: Policy):
        self._run = run
        self._follow = follow
        self._policy = policy

    def submit(self, samples: Samples, *, retain: bool = False, **options: Unpack[RequestOptions]) -> wire.Job:
        """Sends one batch and does not wait for its decisions.

        :param retain: keep the gradients when the job has ended, so that it can be scored again.
        :param options: any of `RequestOptions`.
        :raises CongradError: the service does not take it.
        """
        return self._run(_submit(samples, Options(**options), retain, self._policy))

    def get(self, job: JobLike) -> wire.Job:
        """The state of a job.

        :raises NotFoundError: there is none, or no longer.
        """
        return self._run(_get(job, self._policy))

    reload = get

    def wait(self, job: JobLike) -> wire.FilterResult:
        """Its decisions, once there are any.

        :raises JobFailedError: it failed.
        :raises JobCancelledError: it was cancelled.
        :raises JobNotFinishedError: it has not ended in time.
        """
        return self._run(_wait(job, self._policy))

    def cancel(self, job: JobLike) -> wire.Job:
        """Cancels a job: one that has not been folded in never will be. Of one that has succeeded and retains its
        gradients these are freed.

        :raises ConflictError: it has ended, and retains nothing.
        """
        return self._run(_cancel(job, self._policy))

    def events(self, job: JobLike) -> Generator[wire.Job]:
        """The job now and at each change, its progress included, to its end: without a limit on how long that takes.

        :raises CongradError: the stream cannot be opened, or breaks more often in a row than
            ``max_retries`` and for longer than ``max_downtime``.
        """
        return self._follow(id_of(job))

    def list(self, limit: int = 50, status: wire.JobStatus | str | None = None) -> list[wire.JobSummary]:
        """The latest jobs whose answers are still kept, the newest of them first.

        :param limit: at most this many; the service remembers 500, and 500 that failed.
        :param status: of these only: ``failed`` is what was given up, and why.
        """
        return self._run(_list(limit, status, self._policy))

    def retry(self, job: JobLike) -> wire.Job:
        """Asks once more what a job asked that was given up, with the same samples, and does not wait for the decisions
        of the new job. However often it is called, it is one.

        :raises ConflictError: it has not failed, or has for what it asks.
        :raises NotFoundError: there is none, or its samples are no longer kept.
        """
        return self._run(_retry(job, self._policy))

    def rescore(
        self,
        job: JobLike,
        *,
        selection: SelectionLike | None = None,
        retain: bool = False,
        aggregator: str | None = None,
        idempotency_key: str | None = None,
    ) -> wire.FilterResult:
        """Scores a job's samples against the direction as it stands now, and changes nothing.

        :param job: a job that was sent with ``retain``, or its id.
        :param retain: keep the gradients once more.
        :param aggregator: another than the direction's, for this answer only.
        :raises ConflictError: its gradients were not kept, or no longer.
        """
        return self._run(_rescore(job, selection, retain, aggregator, idempotency_key, self._policy))


class AsyncJobs:
    """`Jobs`, asynchronously."""

    def __init__(self, run: AsyncRun, follow: AsyncFollow, policy: Policy):
        self._run = run
        self._follow = follow
        self._policy = policy

    async def submit(self, samples: Samples, *, retain: bool = False, **options: Unpack[RequestOptions]) -> wire.Job:
        """See `Jobs.submit`."""
        return await self._run(_submit(samples, Options(**options), retain, self._policy))

    async def get(self, job: JobLike) -> wire.Job:
        """See `Jobs.get`."""
        return await self._run(_get(job, self._policy))

    reload = get

    async def wait(self, job: JobLike) -> wire.FilterResult:
        """See `Jobs.wait`."""
        return await self._run(_wait(job, self._policy))

    async def cancel(self, job: JobLike) -> wire.Job:
        """See `Jobs.cancel`."""
        return await self._run(_cancel(job, self._policy))

    def events(self, job: JobLike) -> AsyncGenerator[wire.Job]:
        """See `Jobs.events`."""
        return self._follow(id_of(job))

    async def list(self, limit: int = 50, status: wire.JobStatus | str | None = None) -> list[wire.JobSummary]:
        """See `Jobs.list`."""
        return await self._run(_list(limit, status, self._policy))

    async def retry(self, job: JobLike) -> wire.Job:
        """See `Jobs.retry`."""
        return await self._run(_retry(job, self._policy))

    async def rescore(
        self,
        job: JobLike,
        *,
        selection: SelectionLike | None = None,
        retain: bool = False,
        aggregator: str | None = None,
        idempotency_key: str | None = None,
    ) -> wire.FilterResult:
        """See `Jobs.rescore`."""
        return await self._run(_rescore(job, selection, retain, aggregator, idempotency_key, self._policy))


def _submit(samples: Samples, options: Options, retain: bool, policy: Policy) -> Call[wire.Job]:
    send = whole(samples).request(options, options.idempotency_key or uuid.uuid4().hex, retain)
    return (yield from _accepted(send, policy))


def _accepted(send: HttpRequest, policy: Policy) -> Call[wire.Job]:
    send = HttpRequest(send.method, send.path, send.content, {**send.headers, "Prefer": "respond-async"})
    answer = yield from calls.request(send, answer_of, policy)
    if isinstance(answer, wire.Job):
        return answer
    return (yield from _get(answer.job_id, policy))  # an earlier one of the same key, which has its answer already


def id_of(job: JobLike) -> str:
    """The id of a job.

    :raises TypeError: it is neither a job nor an id.
    """
    if isinstance(job, str):
        return job
    if not isinstance(job, wire.Job | wire.JobSummary):
        raise TypeError(f"job is {type(job).__name__}; it should be a congrad.Job, or the id of one")
    return job.id


def ids_of(jobs: Iterable[JobLike] | JobLike) -> list[str]:
    """The ids of some jobs, or of one.

    :raises TypeError: they are no jobs.
    """
    if isinstance(jobs, str | wire.Job | wire.JobSummary):
        return [id_of(jobs)]
    if not isinstance(jobs, Iterable):
        raise TypeError(
            f"jobs is {type(jobs).__name__}; they should be jobs or their ids, as Filtered.retained has them"
        )
    return [id_of(job) for job in jobs]


def _get(job: JobLike, policy: Policy) -> Call[wire.Job]:
    return calls.request(HttpRequest("GET", job_path(id_of(job))), JOB, policy)


def _list(limit: int, status: wire.JobStatus | str | None, policy: Policy) -> Call[list[wire.JobSummary]]:
    of = "" if status is None else f"&status={quote(status, safe='')}"
    return calls.request(HttpRequest("GET", f"/jobs?limit={limit}{of}"), JOBS, policy)


def _retry(job: JobLike, policy: Policy) -> Call[wire.Job]:
    return _accepted(HttpRequest("POST", job_path(id_of(job)) + "/retry"), policy)


def _wait(job: JobLike, policy: Policy) -> Call[wire.FilterResult]:
    state = job if isinstance(job, wire.Job) else (yield from _get(job, policy))
    return (yield from calls.wait(state, policy, downtime=policy.max_downtime))


def _cancel(job: JobLike, policy: Policy) -> Call[wire.Job]:
    return calls.request(HttpRequest("DELETE", job_path(id_of(job))), JOB, policy)


def _rescore(
    job: JobLike,
    selection: SelectionLike | None,
    retain: bool,
    aggregator: str | None,
    key: str | None,
    policy: Policy,
) -> Call[wire.FilterResult]:
    others = {} if aggregator is None else {"aggregator": aggregator}
    send = rescore_request(id_of(job), key=key or uuid.uuid4().hex, retain=retain, selection=selection, **others)
    return calls.decide(send, policy, policy.max_downtime)
