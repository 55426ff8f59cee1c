"""What both kinds of Celery worker have in common."""

import errno
import logging.config
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

# Read by Celery when it is imported: SIGTERM then starts the soft shutdown, which waits for the running task and
# gives it back to the queue if it takes too long.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning, Reject
from celery.signals import setup_logging
from congrad_service.observability import logs
from congrad_service.queue.queue import celery_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from congrad_worker.errors import DeviceLostError, ShardStoreError, WorkerError
from congrad_worker.processes import kombu_repair, liveness
from congrad_worker.settings import WorkerSettings
from congrad_worker.tasks import metrics, reports

SOFT_SHUTDOWN_S = 10
LOAD_TIMEOUT_S = 3600
"""How long a checkpoint may take to load before the parent thinks that the child is stuck."""

OUTAGE_PAUSE_S = 1.0

OF_A_PORT = (errno.EADDRINUSE, errno.EACCES)
"""Why it cannot be listened on; all else is said of the address."""

LOST = 3
"""The exit status of a process whose accelerator is lost to it."""

log = logging.getLogger(__name__)


def worker_app(name: str, settings: WorkerSettings) -> Celery:
    """A Celery application for a prefork pool of one process that is started afresh (CUDA does not survive a fork).

    A task is acknowledged when it is done, and goes back to the queue if its process dies.
    """
    kombu_repair.install()
    app = celery_app(name, settings)
    _log_as(settings, app)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=LOAD_TIMEOUT_S,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_S,
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # nobody here asks, and Redis's other users should not tell
        worker_hijack_root_logger=False,
        # A task goes on without the broker, and its message comes again, which changes nothing. To cancel it would end
        # the process, and every failover of Redis would load every checkpoint anew.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_max_retries=None,
        # kombu takes what Redis says when it cannot do a thing just now (READONLY, MISCONF, OOM, CLUSTERDOWN) for an
        # error of the channel, at which Celery ends the worker unless it is told to try again.
        broker_channel_error_retry=True,
    )
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)  # that the former will be cancelled one day
    return app


def _log_as(settings: WorkerSettings, app: Celery) -> None:
    """Has Celery set up the log, in the parent and in the child, as all parts do."""

    def configure(**_: object) -> None:
        logging.config.dictConfig(logs.logging_config(settings.log_format, reports.request_id))
        app.log.redirect_stdouts("WARNING")  # progress bars of libraries, mostly

    setup_logging.connect(configure, weak=False)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Leaves the line of a task that is given back, and not where in the code that was, which comes each second that an
    outage lasts, for each task that waits."""
    if record.exc_info and isinstance(record.exc_info[1], Reject):
        record.exc_info = None
    return True


logging.getLogger("celery.app.trace").addFilter(_without_traceback)


def serve_metrics(settings: WorkerSettings) -> None:
    """Answers Prometheus from now on, where a port is set; a port that cannot be had ends the worker."""
    if settings.metrics_port is None:
        return
    try:
        metrics.serve(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        where = f"{settings.metrics_host}:{settings.metrics_port}"
        setting = "CONGRAD_METRICS_PORT" if error.errno in OF_A_PORT else "CONGRAD_METRICS_HOST"
        give_up(f"{setting}: {where} cannot be listened on: {error.strerror}")


@contextmanager
def requeued_on_outage() -> Iterator[None]:
    """Gives the task back to the queue where Redis, the broker or the gradient store fails. Celery's own retry
    publishes a new message to the same broker, and discards the task if that fails too."""
    try:
        yield
    except (RedisError, OperationalError, ShardStoreError) as error:
        time.sleep(OUTAGE_PAUSE_S)
        raise Reject(str(error), requeue=True) from error


@contextmanager
def ended_with_its_device() -> Iterator[None]:
    """Ends this process, the child of a worker, where its accelerator is lost to it. Celery gives its task back to the
    queue, and starts another, which loads the checkpoint anew."""
    try:
        yield
    except DeviceLostError as error:
        log.critical("%s: this process ends, and another one takes its place", error)
        logging.shutdown()
        os._exit(LOST)  # an orderly end would have to wait for the accelerator


@contextmanager
def started_or_given_up(what: str) -> Iterator[None]:
    """Ends the worker where its start fails: Celery would swallow the error, and a worker that has not started would
    take tasks and lose them.

    :param what: is said with the error; one that a `WorkerError` explains needs no more words.
    """
    try:
        yield
    except WorkerError as error:
        give_up(str(error))
    except Exception as error:
        give_up(f"{what}: {type(error).__name__}: {error}")


def give_work_up() -> NoReturn:
    """Ends this process, which was told to stop, while a thread of it is still at work. That is missed, and begun anew
    by another worker."""
    logging.shutdown()
    os._exit(0)


def give_up(message: str) -> NoReturn:
    """Ends the worker that this process is the child of; it exits with status 2 and this message."""
    liveness.failed(message)
    os.kill(os.getppid(), signal.SIGTERM)
    # Returning would make Celery think that the process is ready; its parent waits for an orderly end for ever.
    os._exit(2)
