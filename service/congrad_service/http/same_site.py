"""Who may ask a service that asks for no token: programs of this machine, and no web page of another site.

A browser on the machine sends requests for whatever page it shows. A page whose name an attacker lets point to
loopback (DNS rebinding) is of the same origin as the service to the browser, and it is the name in ``Host`` that tells.
A page of another origin cannot read answers, but it could have things done; ``Sec-Fetch-Site`` or ``Origin`` tells.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus

from congrad.contract import wire
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from congrad_service.http.problems import response

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""The names of this machine to itself."""

ANY = "*"

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/?#@\s]+)(:[0-9]+)?")
"""A name or an address, and perhaps a port."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = ("same-origin", "none")
"""Of `Sec-Fetch-Site`: a page of ours, or the user himself."""


class TrustedHosts:
    """ASGI middleware that answers 421 to requests for other names than these.

    :param hosts: names; ``*.example.org`` are all below that one, and ``*`` any name at all.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]):
        self._app = app
        self._hosts = [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or ANY in self._hosts or self._is_trusted(Headers(scope=scope).getlist("Host")):
            await self._app(scope, receive, send)
            return
        status = HTTPStatus.MISDIRECTED_REQUEST
        detail = "the service is not known by the name in Host; CONGRAD_TRUSTED_HOSTS says by which it is"
        problem = wire.Problem(title=status.phrase, status=status, detail=detail)
        await response(problem)(scope, receive, send)

    def _is_trusted(self, given: Sequence[str]) -> bool:
        if len(given) != 1 or (found := HOST.fullmatch(given[0].lower())) is None:
            return False
        name = found[1]
        return any(name == host or (host.startswith("*.") and name.endswith(host[1:])) for host in self._hosts)


class SameOrigin:
    """ASGI middleware that answers 403 to what a page of another origin wants done, and to what one of another site
    asks for; links to pages may be followed."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_allowed(scope["method"], Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        status = HTTPStatus.FORBIDDEN
        detail = "a web page of another origin may not ask this service, which asks for no token"
        await response(wire.Problem(title=status.phrase, status=status, detail=detail))(scope, receive, send)


def _is_allowed(method: str, headers: Headers) -> bool:
    is_safe, site = method in SAFE_METHODS, headers.get("Sec-Fetch-Site")
    if site is None:  # a program, or an old browser
        origin = headers.get("Origin")
        return is_safe or origin is None or origin.partition("://")[2] == headers.get("Host")
    if is_safe:
        return site != "cross-site" or headers.get("Sec-Fetch-Mode") == "navigate"
    return site in OWN_SITES
