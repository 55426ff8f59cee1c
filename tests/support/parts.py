"""The parts of a stack on a Redis that is there already."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from congrad.local.part import Program
from congrad.local.redis_server import free_port
from congrad.local.stack import Stack

from support.models import DEMO_CHECKPOINT


@contextmanager
def running_parts(redis_url: str, log: Path, token: str | None = None, **settings: str) -> Iterator[Stack]:
    """A gradients worker on the demo checkpoint, a decide worker and the service, ready for requests.

    :param token: one that the service accepts, to ask it whether it is ready.
    """
    port = free_port()
    environment = {
        **os.environ,
        "CONGRAD_REDIS_URL": redis_url,
        "CONGRAD_MODEL": str(DEMO_CHECKPOINT),
        "CONGRAD_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        **settings,
    }
    with log.open("wb") as file:
        stack = Stack(f"http://127.0.0.1:{port}", environment, file)
        try:
            for name, *module in (
                ("gradients worker", "congrad_worker", "gradients"),
                ("decide worker", "congrad_worker", "decide"),
                ("service", "congrad_service"),
            ):
                stack.start(Program(name, [sys.executable, "-m", *module], environment))
            stack.wait_until_ready(token)
            yield stack
        finally:
            stack.stop()
