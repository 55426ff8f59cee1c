"""What a worker holds when Redis goes away before it is done with it."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from congrad.local.redis_server import RedisConfig, configure, free_port
from congrad_service.queue.queue import celery_app
from congrad_worker.processes import kombu_repair
from support.serving import settings


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[RedisConfig, subprocess.Popen[bytes]]]:
    """A Redis that the test may kill."""
    config = configure(tmp_path, free_port())
    process = subprocess.Popen(config.command)
    try:
        yield config, process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("end", [lambda m: m.ack(), lambda m: m.reject(requeue=True)], ids=["ack", "requeue"])
def test_a_message_that_redis_cannot_be_told_about_is_not_held(
    own_redis: tuple[RedisConfig, subprocess.Popen[bytes]], end: Callable[[Any], None]
) -> None:
    config, process = own_redis
    kombu_repair.install()
    with ExitStack() as stack:
        app = stack.enter_context(celery_app("test", settings(config.url)))
        connection = app.connection_for_read()
        connection.ensure_connection(max_retries=100, interval_start=0.05, interval_step=0)
        queue = connection.SimpleQueue("congrad.held")
        queue.consumer.qos(prefetch_count=1)
        queue.put({})
        message = queue.get(timeout=10)
        held = queue.channel.qos
        assert not held.can_consume()
        process.kill()
        process.wait()
        with pytest.raises(connection.connection_errors):
            end(message)
        assert held.can_consume()
        connection.collect()  # an orderly end would wait for Redis
