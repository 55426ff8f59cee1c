"""Whether the addresses that are set can be those of a Redis and of a broker, before a part of the service starts."""

import ssl
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from kombu.connection import Connection
from redis import ConnectionPool
from redis.exceptions import RedisError

from congrad_service.queue.queue import AMQP
from congrad_service.settings import RedisSettings


class AddressError(ValueError):
    """One cannot be; the message names its setting, and has no password."""


def check_addresses(settings: RedisSettings) -> None:
    """Has redis-py and Celery read them, which connects to nothing, and reads the files of certificates that they name.

    :raises AddressError: one of them does not take one.
    """
    try:
        ConnectionPool.from_url(settings.redis_url).make_connection()
    except (RedisError, TypeError, ValueError) as error:
        raise AddressError(f"CONGRAD_REDIS_URL: has an option that redis-py does not take: {error}") from None
    for broker in settings.celery_broker.split(";"):
        _check_amqp(broker)
    try:
        connection = Connection(settings.celery_broker)  # type: ignore[no-untyped-call] # it has no types
        connection.get_transport_cls()  # type: ignore[no-untyped-call] # likewise
    except (ImportError, LookupError, TypeError, ValueError) as error:
        raise AddressError(f"CONGRAD_BROKER_URL: {_what_is_wrong(settings)}: {error}") from None
    for setting, url in (("CONGRAD_REDIS_URL", settings.redis_url), ("CONGRAD_BROKER_URL", settings.broker_url)):
        if url is not None and url.startswith("rediss:"):
            _check_certificates(setting, dict(parse_qsl(urlsplit(url).query)))


def _check_amqp(url: str) -> None:
    """Options of TLS would take the place of those that have the certificate checked, and fail when it connects."""
    parts = urlsplit(url)
    if f"{parts.scheme}:" not in AMQP:
        return
    for name in dict(parse_qsl(parts.query, keep_blank_values=True)):
        if name == "ssl" or name.startswith("ssl_"):
            raise AddressError(
                f"CONGRAD_BROKER_URL: {name}: a RabbitMQ takes no option of TLS in its URL: amqps:// is all, and "
                "SSL_CERT_FILE in the environment names an authority that the system does not know"
            )


def _check_certificates(setting: str, options: Mapping[str, str]) -> None:
    """Reads them as a connection would, which says that some file is not there, and not which, and is tried for ever.

    :param options: of a URL, by the names that redis-py and Celery share.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority := options.get("ssl_ca_certs"):
        try:
            context.load_verify_locations(authority)
        except OSError as error:  # those of ssl are among them
            raise AddressError(f"{setting}: ssl_ca_certs: {authority}: {error.strerror}") from None
    if certificate := options.get("ssl_certfile"):
        key = options.get("ssl_keyfile")
        try:
            context.load_cert_chain(certificate, key, lambda: options.get("ssl_password", ""))  # else it asks for one
        except OSError as error:
            names = " and ".join(filter(None, (certificate, key)))
            raise AddressError(f"{setting}: ssl_certfile and ssl_keyfile: {names}: {error.strerror}") from None


def _what_is_wrong(settings: RedisSettings) -> str:
    if settings.broker_url:
        return "is none that Celery takes"
    is_socket = settings.redis_url.startswith("unix:")
    example = ", such as redis+socket:///run/redis.sock?virtual_host=0" if is_socket else ""
    return f"should be set{example}; Celery does not take CONGRAD_REDIS_URL for its broker"
