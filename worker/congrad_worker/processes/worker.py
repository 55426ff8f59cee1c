"""One Celery worker, until a signal.

A setting or a checkpoint that cannot be served is one line on stderr and exit status 2.
"""

import logging.config
import os
import sys
from contextlib import ExitStack
from importlib import import_module

from congrad_service import keys
from congrad_service.observability import logs
from congrad_service.queue.addresses import AddressError, check_addresses
from congrad_service.queue.registry import Role
from pydantic import ValidationError

from congrad_worker.errors import WorkerError
from congrad_worker.processes import liveness


def run(role: Role) -> int:
    """Runs a worker of that role; its exit status."""
    try:
        # These modules read the settings from the environment, as their child process will again.
        module = import_module(f"congrad_worker.processes.{role}_worker")
        check_addresses(module.settings)
        logging.config.dictConfig(logs.logging_config(module.settings.log_format))
        logging.captureWarnings(True)
        queue = _gradients_queue() if role == Role.GRADIENTS else keys.DECIDE_QUEUE
    except ValidationError as error:
        for fault in error.errors():
            name = "CONGRAD_" + "_".join(map(str, fault["loc"])).upper()
            print(f"congrad worker: {name}: {fault['msg']}", file=sys.stderr)
        return 2
    except (AddressError, WorkerError) as error:
        print(f"congrad worker: {error}", file=sys.stderr)
        return 2
    return _serve(module.app, role, queue)


def _gradients_queue() -> str:
    from congrad_worker.checkpoints.files import locate  # a decide worker needs no hub
    from congrad_worker.processes.gradients_worker import settings

    return keys.gradients_queue(locate(settings).fingerprint)


def _serve(app: object, role: Role, queue: str) -> int:
    with ExitStack() as running:
        try:
            running.enter_context(liveness.folder())
        except OSError as error:  # a container that is read-only has no folder for it; a disk that is full has later
            needed = f"no temporary folder can be made ({error.strerror}); TMPDIR names a folder for it"
            print(f"congrad worker: {needed}", file=sys.stderr)
            return 1
        # The level is billiard's, which has a handler of its own; `logs.py` has all others.
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
        node = f"--hostname={role}-{os.getpid()}@%h"
        status = _worker_main(app, ["--quiet", "worker", f"--queues={queue}", node, *options])
        if (reason := liveness.failure()) is not None:
            # Celery has put its logger in the place of stderr.
            print(f"congrad worker: {reason}", file=sys.__stderr__)
            return 2
        return status


def _worker_main(app: object, arguments: list[str]) -> int:
    try:
        app.worker_main(arguments)  # type: ignore[attr-defined] # Celery has no types
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0
