"""Every task has one line in the log, is counted and timed, and belongs to the request that its job was made by."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from congrad_service.observability import logs, tracing
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from congrad_worker.errors import DeviceLostError, ShardStoreError
from congrad_worker.tasks import metrics
from congrad_worker.tasks.records import Origin

log = logging.getLogger(__name__)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the job that is worked on."""

_noted: ContextVar[dict[str, Any] | None] = ContextVar("noted", default=None)

_belonging: ContextVar[Callable[[Origin], None] | None] = ContextVar("belonging", default=None)


def note(**values: Any) -> None:
    """Adds to what is said of the task that is being done; never a text of a client's.

    ``outcome`` is `done` unless it is said to be `repeated` or `failed`.
    """
    noted = _noted.get()
    if noted is not None:
        noted |= values
    tracing.note(**values)


def belongs_to(origin: Origin) -> None:
    """Says whose the task is that is being done, as soon as that is known: its span begins."""
    belonging = _belonging.get()
    if belonging is not None:
        belonging(origin)


@contextmanager
def report(kind: str, task: str, job_id: str, **about: Any) -> Iterator[None]:
    """One task of a job, which the block does.

    :param kind: `gradients` or `decide`.
    :param task: its name and Celery's id, as Celery logs them.
    """
    noted: dict[str, Any] = {"outcome": "done"}
    begun = time.perf_counter()
    try:
        with ExitStack() as spans:

            def belonging(origin: Origin) -> None:
                request_id.set(origin.request)
                spans.enter_context(tracing.continued(origin.trace))
                spans.enter_context(tracing.span(kind, job_id=job_id, **about))

            tokens = request_id.set(None), _noted.set(noted), _belonging.set(belonging)
            yield
    except (RedisError, OperationalError, DeviceLostError, ShardStoreError):
        noted["outcome"] = "requeued"
        raise
    except BaseException:
        noted["outcome"] = "failed"
        raise
    finally:
        _count(kind, noted, seconds := time.perf_counter() - begun)
        _say(task, {"job_id": job_id, **about, **noted, "seconds": round(seconds, 6)})
        request_id.reset(tokens[0])
        _noted.reset(tokens[1])
        _belonging.reset(tokens[2])


def _count(kind: str, noted: dict[str, Any], seconds: float) -> None:
    metrics.TASKS.labels(kind, noted["outcome"]).inc()
    metrics.TASK_SECONDS.labels(kind).observe(seconds)
    if noted.get("attempt", 1) > 1:
        metrics.RESTARTS.labels(kind).inc()


def _say(task: str, values: dict[str, Any]) -> None:
    outcome = values["outcome"]
    said = ", ".join(f"{name} {value}" for name, value in values.items() if name not in ("outcome", "seconds"))
    text = f"Task {task} {outcome} in {values['seconds']:.3f} s: {said}"
    log.info("%s", text, extra=logs.fields(task=task, **values))
