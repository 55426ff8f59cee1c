"""``X-Request-ID``: the client's own, or a new one, on every response and in every line of the log, the workers'
included."""

from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.middleware import Middleware

HEADER = "X-Request-ID"
MAX_LENGTH = 128


def is_sane(given: str) -> bool:
    """Whether a client's id may go into the log as it is."""
    return len(given) <= MAX_LENGTH and given.isascii() and given.isprintable()


def current() -> str:
    """That of the request that is being answered; '' outside one."""
    return correlation_id.get() or ""


def headers() -> dict[str, str]:
    """The header of the request that is being answered, for answers that are made outside the middleware."""
    return {HEADER: current()}


MIDDLEWARE = Middleware(CorrelationIdMiddleware, header_name=HEADER, validator=is_sane)
"""Outermost of ours; only Starlette's own, which answers 500, is further out."""
