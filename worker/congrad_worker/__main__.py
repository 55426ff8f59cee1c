"""`python -m congrad_worker gradients` and `python -m congrad_worker decide`: one Celery worker each.

A setting or a checkpoint that cannot be served is one line on stderr and exit status 2.
"""

import logging
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from congrad_service import keys
from pydantic import ValidationError

from congrad_worker.celery_app import FAILURE_FILE
from congrad_worker.errors import WorkerError

ROLES = ("gradients", "decide")


def main(arguments: list[str]) -> int:
    """Runs one worker until a signal."""
    if len(arguments) != 1 or arguments[0] not in ROLES:
        print(f"usage: python -m congrad_worker {{{','.join(ROLES)}}}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    role = arguments[0]
    try:
        # These modules read the settings from the environment, as their child process will again.
        app = import_module(f"congrad_worker.{role}_worker").app
        queue = _gradients_queue() if role == "gradients" else keys.DECIDE_QUEUE
    except ValidationError as error:
        for fault in error.errors():
            name = "CONGRAD_" + "_".join(map(str, fault["loc"])).upper()
            print(f"congrad worker: {name}: {fault['msg']}", file=sys.stderr)
        return 2
    except WorkerError as error:
        print(f"congrad worker: {error}", file=sys.stderr)
        return 2
    return _run(app, role, queue)


def _gradients_queue() -> str:
    from congrad_worker.files import locate  # a decide worker needs no hub
    from congrad_worker.gradients_worker import settings

    return keys.gradients_queue(locate(settings).fingerprint)


def _run(app: object, role: str, queue: str) -> int:
    with tempfile.TemporaryDirectory(prefix="congrad-worker-") as folder:
        failure = Path(folder, "failure")
        os.environ[FAILURE_FILE] = str(failure)
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=INFO"]
        node = f"--hostname={role}-{os.getpid()}@%h"
        status = _worker_main(app, ["worker", f"--queues={queue}", node, *options])
        if failure.exists():
            # Celery has put its logger in the place of stderr.
            print(f"congrad worker: {failure.read_text(encoding='utf-8')}", file=sys.__stderr__)
            return 2
        return status


def _worker_main(app: object, arguments: list[str]) -> int:
    try:
        app.worker_main(arguments)  # type: ignore[attr-defined] # Celery has no types
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
