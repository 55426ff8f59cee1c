"""The queue that a worker's parent takes messages from: that of what its child serves, which may change."""

from typing import Any

from celery import bootsteps

from congrad_worker.processes import liveness

LOOK_S = 0.1


class Following(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
    """A step of Celery's consumer that looks which queue the child has named, and goes over to it."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any):
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Begins, at the start and after each loss of the connection."""
        self._timer = consumer.timer.call_repeatedly(LOOK_S, follow, (consumer,))

    def stop(self, consumer: Any) -> None:
        """Ends."""
        if self._timer is not None:
            consumer.timer.cancel(self._timer)
            self._timer = None


def follow(consumer: Any) -> None:
    """Goes over to the queue that the child has named, if that is another. What still comes of the old one goes back
    to the broker."""
    queue = liveness.queue()
    if queue is None or consumer.task_consumer is None or consumer.task_consumer.consuming_from(queue):
        return
    queues = consumer.app.amqp.queues
    for old in list(queues.consume_from):
        consumer.cancel_task_queue(old)
        queues.pop(old, None)
    consumer.add_task_queue(queue)
