"""Runs as many as are asked for until a signal.

They are forked from one process that has imported everything, so that one more of them costs next to no start and only
the memory that it writes to. Each is a parent and a child of its own, as the product's.
"""

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

from congrad_service import keys

from benchmarks.waiting_worker.app import app, end_with_parent, waiting

LATE = (
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.worker.autoscale",
    "celery.worker.consumer",
    "celery.worker.components",
    "celery.worker.strategy",
    "kombu.transport.redis",
)
"""What a worker of Celery imports when it starts."""


def main() -> None:
    """:raises SystemExit: one of them has failed; that one was killed is none of its faults."""
    for module in LATE:
        import_module(module)
    app.finalize()
    gc.freeze()  # or the first collection would write to all that they share
    workers = [_forked() for _ in range(waiting.workers)]
    ending: list[int] = []

    def end(number: int, _: object) -> None:
        ending.append(number)
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    for _ in workers:
        status = os.waitstatus_to_exitcode(os.wait()[1])
        if status > 0 and not ending:
            sys.exit(status)


def _forked() -> int:
    if process := os.fork():
        return process
    end_with_parent()
    app.worker_main(
        [
            "worker",
            f"--queues={keys.gradients_queue(waiting.fingerprint)}",
            f"--hostname=waiting-{os.getpid()}@%h",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=INFO",
        ]
    )
    sys.exit()


if __name__ == "__main__":
    main()
