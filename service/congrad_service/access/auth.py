"""The bearer token: asked for everywhere but at /livez and /dashboard, the documentation and unknown paths included.

What a token's role allows is decided here too, before a body is read; whose directions and jobs it sees, in `state.py`.
"""

import re
from typing import Any

from congrad.contract.tokens import Role
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from congrad_service.access.tokens import ANYONE, Caller, Tokens
from congrad_service.http.errors import Forbidden, ServiceError, Unauthorized, problem_of
from congrad_service.http.problems import response

OPEN = re.compile(r"/livez|/dashboard(/.*)?")
"""Paths that hold no data: the dashboard is a page that asks for a token by itself."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FILTERING = re.compile(r"POST /filter|POST /jobs/[^/]+/(rescore|retry)|DELETE /jobs/[^/]+")


def needed_role(method: str, path: str) -> Role:
    """The role that a request needs. A route that changes something and is not listed is for admins."""
    if method in SAFE_METHODS:
        return Role.READ
    return Role.FILTER if FILTERING.fullmatch(f"{method} {path}") else Role.ADMIN


class BearerAuth:
    """ASGI middleware that answers 401 to requests without a token, and 403 to those that its role does not include.
    Whom the others come from stands in their state, as ``caller``."""

    def __init__(self, app: ASGIApp, tokens: Tokens):
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or OPEN.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._caller(Headers(scope=scope).get("Authorization", ""))
            _check_role(caller, needed_role(scope["method"], scope["path"]))
        except ServiceError as error:
            await response(problem_of(error), error.headers)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _caller(self, header: str) -> Caller:
        """:raises Unauthorized: there is no valid token."""
        if not self._tokens:
            return ANYONE
        scheme, _, token = header.partition(" ")
        # RFC 6750, 2.1: one space or more.
        caller = self._tokens.caller(token.lstrip(" ").encode("latin-1")) if scheme.lower() == "bearer" else None
        if caller is None:
            raise Unauthorized("a valid bearer token is needed" if header else "a bearer token is needed")
        return caller


def describe(document: dict[str, Any]) -> None:
    """Has an OpenAPI document say that a token is asked for, and where it is not."""
    document["components"].setdefault("securitySchemes", {})["token"] = {"type": "http", "scheme": "bearer"}
    document["security"] = [{"token": []}]
    for path, item in document["paths"].items():
        if OPEN.fullmatch(path):
            for operation in item.values():
                operation["security"] = []


def _check_role(caller: Caller, needed: Role) -> None:
    """:raises Forbidden: the caller's role does not include what is needed."""
    if not caller.role.includes(needed):
        raise Forbidden(f"this needs a token of role {needed.value!r}; {caller.name!r} has role {caller.role.value!r}")
