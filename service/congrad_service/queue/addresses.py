"""Whether the addresses that are set can be those of a Redis and of a broker, before a part of the service starts."""

from kombu.connection import Connection
from redis import ConnectionPool
from redis.exceptions import RedisError

from congrad_service.settings import RedisSettings


class AddressError(ValueError):
    """One cannot be; the message names its setting, and has no password."""


def check_addresses(settings: RedisSettings) -> None:
    """Has redis-py and Celery read them, which connects to nothing.

    :raises AddressError: one of them does not take one.
    """
    try:
        ConnectionPool.from_url(settings.redis_url).make_connection()
    except (RedisError, TypeError, ValueError) as error:
        raise AddressError(f"CONGRAD_REDIS_URL: has an option that redis-py does not take: {error}") from None
    try:
        connection = Connection(settings.celery_broker)  # type: ignore[no-untyped-call] # it has no types
        connection.get_transport_cls()  # type: ignore[no-untyped-call] # likewise
    except (ImportError, LookupError, TypeError, ValueError) as error:
        raise AddressError(f"CONGRAD_BROKER_URL: {_what_is_wrong(settings)}: {error}") from None


def _what_is_wrong(settings: RedisSettings) -> str:
    if settings.broker_url:
        return "is none that Celery takes"
    is_socket = settings.redis_url.startswith("unix:")
    example = ", such as redis+socket:///run/redis.sock?virtual_host=0" if is_socket else ""
    return f"should be set{example}; Celery does not take CONGRAD_REDIS_URL for its broker"
