"""How many messages a worker of Celery on Redis holds at once."""

from kombu.transport.redis import Channel, QoS


class Prefetch(QoS):
    """kombu's count, in which a message that cannot be acknowledged is not held any longer.

    Where Redis fails just then, Celery logs it and goes on, and kombu goes on counting the message. A worker that holds
    one at a time would never take another, nor use the connection and see that it is gone; and its heartbeat, which
    has a connection of its own, would say that all is well. The message itself is still in Redis and comes again,
    which changes nothing.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledges a message."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call] # kombu has no types
        finally:
            self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Gives a message back, or drops it."""
        try:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
        finally:
            self._quick_ack(delivery_tag)


def install() -> None:
    """Makes all channels of this process count like that; kombu has no setting for it."""
    Channel.QoS = Prefetch
