"""A RabbitMQ of one's own, from the Debian package `rabbitmq-server`, where it is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from congrad.local.redis_server import free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The server itself; the command on the PATH changes to a user of its own first."""

START_S = 60


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """Its URL. ``folder`` is for its files; with it ends the daemon that Erlang's nodes find each other by."""
    epmd, epmd_port, port = shutil.which("epmd"), free_port(), free_port()
    assert epmd is not None
    (folder / "plugins").write_text("[].")
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n")
    environment = {
        **os.environ,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "congrad@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    with (folder / "out").open("wb") as out:
        names = subprocess.Popen([epmd, "-port", str(epmd_port)], env=environment, stdout=out, stderr=out)
        # A server that is killed leaves files where it was started.
        server = subprocess.Popen([str(SERVER)], cwd=folder, env=environment, stdout=out, stderr=out)
        try:
            with Celery(broker=url) as app, app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=START_S * 5, interval_start=0.2, interval_step=0)
            yield url
        finally:
            for process in (server, names):
                process.terminate()
                process.wait()
