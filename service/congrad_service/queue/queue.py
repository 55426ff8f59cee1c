"""The service's side of Celery: tasks by name, arguments that are references."""

import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from celery import Celery

from congrad_service import keys
from congrad_service.settings import RedisSettings

ANSWER_S = 10.0
"""How long RabbitMQ may take to say that it has a message. One that hangs keeps its connections, and whoever sends on
one of them would wait until it goes on."""


AMQP = ("amqp:", "amqps:", "pyamqp:")
"""What the URL of a RabbitMQ begins with."""


def _bound(connection: Any) -> None:
    """Ends what waits for an answer on a new connection. py-amqp's own `read_timeout` does not: it reads on."""
    connection.sock.settimeout(ANSWER_S)


def celery_app(name: str, settings: RedisSettings) -> Celery:
    """A Celery application on the project's broker; producer and workers must agree on what stands here."""
    app = Celery(name, broker=settings.celery_broker)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        # Redis redelivers what was not acknowledged in time. The shortest timeout of all applications on a broker
        # wins, so they share it; and without a socket timeout a publish can hang for ever.
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "health_check_interval": 25,
            "confirm_publish": True,  # RabbitMQ says that it has a message before a publish returns
            **({"on_open": _bound} if settings.celery_broker.startswith(AMQP) else {}),
        },
    )
    if settings.celery_broker.startswith("amqps:"):
        # Without a name the certificate of anybody would do; None is the one in the URL.
        app.conf.broker_use_ssl = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    return app


class Queue:
    """Sends tasks to the workers."""

    def __init__(self, settings: RedisSettings):
        self._app = celery_app("congrad_service", settings)

    def enqueue_gradients(self, job_id: str, chunks: int, fingerprint: str) -> None:
        """One task for each chunk, on the queue of the checkpoint. Sending them twice changes nothing."""
        with self._app.producer_pool.acquire(block=True, timeout=30) as producer:
            for number in range(chunks):
                self._send_chunk(job_id, number, fingerprint, producer=producer)

    def enqueue_chunk(self, job_id: str, number: int, fingerprint: str) -> None:
        """The task of one chunk, again."""
        self._send_chunk(job_id, number, fingerprint)

    def enqueue_decision(self, job_id: str) -> None:
        """The task that decides a job whose gradients are all there. Sending it twice changes nothing."""
        self._app.send_task(keys.DECIDE_TASK, args=(job_id,), queue=keys.DECIDE_QUEUE)

    def _send_chunk(self, job_id: str, number: int, fingerprint: str, **options: Any) -> None:
        queue = keys.gradients_queue(fingerprint)
        self._app.send_task(keys.GRADIENTS_TASK, args=(job_id, number), queue=queue, **options)

    def lengths(self, queues: Iterable[str]) -> dict[str, int]:
        """How many messages wait in some queues; of a broker that is no Redis."""
        with self._app.connection_for_read() as connection:
            return {queue: _length(connection, queue) for queue in queues}

    def purge(self, queue: str) -> None:
        """Throws away what waits in a queue, which may not be there."""
        with self._app.connection_for_write() as connection, suppress(connection.channel_errors):
            connection.channel().queue_purge(queue)

    def close(self) -> None:
        """Closes the connections to the broker."""
        self._app.close()


def _length(connection: Any, queue: str) -> int:
    """Of a queue that may not be there, which costs its channel."""
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0
