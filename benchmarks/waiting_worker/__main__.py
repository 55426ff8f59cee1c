"""Runs one until a signal."""

import os

from congrad_service import keys

from benchmarks.waiting_worker.app import app, waiting

if __name__ == "__main__":
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
