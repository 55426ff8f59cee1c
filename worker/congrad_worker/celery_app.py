"""What both kinds of Celery worker have in common."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

# Read by Celery when it is imported: SIGTERM then starts the soft shutdown, which waits for the running task and
# gives it back to the queue if it takes too long.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")

from celery import Celery
from celery.exceptions import Reject
from congrad_service.queue import celery_app
from congrad_service.settings import RedisSettings
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from congrad_worker import prefetch

SOFT_SHUTDOWN_S = 10
LOAD_TIMEOUT_S = 3600
"""How long a checkpoint may take to load before the parent thinks that the child is stuck."""

OUTAGE_PAUSE_S = 1.0

FAILURE_FILE = "CONGRAD_WORKER_FAILURE_FILE"
"""Names the file in which the child of a worker leaves the reason why it cannot start."""


def worker_app(name: str, settings: RedisSettings) -> Celery:
    """A Celery application for a prefork pool of one process that is started afresh (CUDA does not survive a fork).

    A task is acknowledged when it is done, and goes back to the queue if its process dies.
    """
    prefetch.install()
    app = celery_app(name, settings)
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
        worker_cancel_long_running_tasks_on_connection_loss=True,
    )
    return app


@contextmanager
def requeued_on_outage() -> Iterator[None]:
    """Gives the task back to the queue where Redis or the broker fails. Celery's own retry publishes a new message to
    the same broker, and discards the task if that fails too."""
    try:
        yield
    except (RedisError, OperationalError) as error:
        time.sleep(OUTAGE_PAUSE_S)
        raise Reject(str(error), requeue=True) from error


def give_up(message: str) -> NoReturn:
    """Ends the worker that this process is the child of; it exits with status 2 and this message."""
    if (path := os.environ.get(FAILURE_FILE)) is not None:
        Path(path).write_text(message, encoding="utf-8")
    os.kill(os.getppid(), signal.SIGTERM)
    # Returning would make Celery think that the process is ready; its parent waits for an orderly end for ever.
    os._exit(2)
