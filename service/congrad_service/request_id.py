"""``X-Request-ID``: the client's own, or a new one, on every response and at the end of every line of the log."""

from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.middleware import Middleware

HEADER = "X-Request-ID"
MAX_LENGTH = 128


def is_sane(given: str) -> bool:
    """Whether a client's id may go into the log as it is."""
    return len(given) <= MAX_LENGTH and given.isascii() and given.isprintable()


def headers() -> dict[str, str]:
    """The header of the request that is being answered, for answers that are made outside the middleware."""
    return {HEADER: correlation_id.get() or ""}


MIDDLEWARE = Middleware(CorrelationIdMiddleware, header_name=HEADER, validator=is_sane)
"""Outermost of ours; only Starlette's own, which answers 500, is further out."""
