"""Who may do what: every route asks for a token of the role that stands here, and says which one that is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from congrad.contract.tokens import Role
from congrad_service.app import create_app
from fastapi.routing import iter_route_contexts
from support.serving import opened, settings
from support.tokens import bearer, write_tokens

NEEDED: dict[tuple[str, str], Role | None] = {
    ("GET", "/livez"): None,
    ("GET", "/dashboard"): None,
    ("GET", "/dashboard/{path:path}"): None,
    ("GET", "/readyz"): Role.READ,
    ("GET", "/metrics"): Role.READ,
    ("GET", "/docs"): Role.READ,
    ("GET", "/openapi.json"): Role.READ,
    ("HEAD", "/openapi.json"): Role.READ,
    ("GET", "/checkpoints"): Role.READ,
    ("GET", "/workers"): Role.READ,
    ("GET", "/queue"): Role.READ,
    ("GET", "/events"): Role.READ,
    ("GET", "/jobs"): Role.READ,
    ("GET", "/jobs/{job_id}"): Role.READ,
    ("GET", "/jobs/{job_id}/events"): Role.READ,
    ("GET", "/jobs/{job_id}/samples"): Role.READ,
    ("GET", "/directions"): Role.READ,
    ("GET", "/directions/{name}"): Role.READ,
    ("GET", "/directions/{name}/state"): Role.READ,
    ("GET", "/directions/{name}/scores"): Role.READ,
    ("GET", "/directions/{name}/history"): Role.READ,
    ("GET", "/directions/{name}/conflicts"): Role.READ,
    ("POST", "/filter"): Role.FILTER,
    ("POST", "/jobs/{job_id}/rescore"): Role.FILTER,
    ("POST", "/jobs/{job_id}/retry"): Role.FILTER,
    ("DELETE", "/jobs/{job_id}"): Role.FILTER,
    ("GET", "/publications/{publication_id}"): Role.READ,
    ("POST", "/checkpoints"): Role.ADMIN,
    ("DELETE", "/checkpoints/{fingerprint}"): Role.ADMIN,
    ("POST", "/workers/sleep"): Role.ADMIN,
    ("POST", "/workers/wake"): Role.ADMIN,
    ("DELETE", "/directions/{name}"): Role.ADMIN,
    ("PUT", "/directions/{name}/state"): Role.ADMIN,
}
"""None: no token at all."""

ALLOWED = {Role.READ: {Role.READ}, Role.FILTER: {Role.READ, Role.FILTER}, Role.ADMIN: set(Role)}
"""By role, the needs that it meets."""

APP = create_app(settings("redis://127.0.0.1:1/0"))
ROUTES = sorted(
    (method, str(route.path)) for route in iter_route_contexts(APP.routes) for method in route.methods or ("GET",)
)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """A token of each role, called by it."""
    return write_tokens(tmp_path / "tokens.toml", *((role.value, role, None) for role in Role))


Ask: TypeAlias = Callable[[str, str, dict[str, str]], httpx.Response]
"""Method, path and headers."""


@contextmanager
def asking(redis_url: str, **options: Any) -> Iterator[Ask]:
    """Asks one service, whose streams end at once."""
    with opened(redis_url, **options) as (client, loop):
        client._transport.app.state.congrad.drain()  # type: ignore[attr-defined]
        yield lambda method, path, headers: loop.run(client.request(method, path, headers=headers))


def ask(redis_url: str, method: str, path: str, headers: dict[str, str], **options: Any) -> httpx.Response:
    """Asks a service that nobody else asks."""
    with asking(redis_url, **options) as once:
        return once(method, path, headers)


def test_the_document_tells_of_no_route_that_is_not_looked_at_here() -> None:
    told = {(method.upper(), path) for path, item in APP.openapi()["paths"].items() for method in item}
    assert told <= set(ROUTES)
    assert len(told) >= 11


def test_the_document_tells_whether_a_token_is_needed(keys_file: Path) -> None:
    assert "security" not in APP.openapi()
    guarded = create_app(settings("redis://127.0.0.1:1/0", api_keys_file=keys_file))
    for _ in range(2):  # made, and remembered
        document = guarded.openapi()
        (scheme,) = document["components"]["securitySchemes"].items()
        assert scheme == ("token", {"type": "http", "scheme": "bearer"})
        for path, item in document["paths"].items():
            for method, operation in item.items():
                is_free = NEEDED[method.upper(), path] is None
                assert operation.get("security", document["security"]) == ([] if is_free else [{"token": []}])


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_route_answers_the_roles_that_it_should_and_no_other(
    method: str, route: str, redis_url: str, keys_file: Path
) -> None:
    needed = NEEDED[method, route]
    ids = {"job_id": "0" * 32, "publication_id": "0" * 32, "fingerprint": "unknown"}
    path = route.replace(":path", "").format(name="unknown", path="unknown", **ids)
    free = ask(redis_url, method, path, {})
    with asking(redis_url, api_keys_file=keys_file) as guarded:
        for role in Role:
            response = guarded(method, path, bearer(role.value))
            if needed is None or needed in ALLOWED[role]:
                assert response.status_code == free.status_code
                # Those tell of the process that answers, of the memory of Redis, and whether a token is needed.
                assert response.content == free.content or route in ("/metrics", "/queue", "/openapi.json")
            else:
                assert (response.status_code, response.headers["content-type"]) == (403, "application/problem+json")
                assert response.json()["detail"] == f"this needs a token of role '{needed}'; '{role}' has role '{role}'"
        for headers in ({}, bearer("wrong"), bearer(""), {"Authorization": "read"}, {"Authorization": "Basic read"}):
            response = guarded(method, path, headers)
            assert response.status_code == (free.status_code if needed is None else 401)
            assert ("www-authenticate" in response.headers) == (needed is not None)


def test_what_is_no_route_is_answered_to_nobody_without_a_token(redis_url: str, keys_file: Path) -> None:
    for method, path, role, status in (
        ("GET", "/nowhere", "read", 404),
        ("OPTIONS", "/filter", "read", 405),
        ("POST", "/nowhere", "filter", 403),
        ("POST", "/nowhere", "admin", 404),
        ("PATCH", "/directions/x", "filter", 403),
        ("POST", "/jobs/x/y/rescore", "filter", 403),
        ("POST", "/filter/", "filter", 403),
    ):
        assert ask(redis_url, method, path, {}, api_keys_file=keys_file).status_code == 401
        assert ask(redis_url, method, path, bearer(role), api_keys_file=keys_file).status_code == status


def test_the_api_key_is_an_admin_beside_the_tokens_of_the_file(redis_url: str, keys_file: Path) -> None:
    options = {"api_key": "key", "api_keys_file": keys_file}
    for token, status in (("key", 404), ("admin", 404), ("filter", 403), ("other", 401)):
        assert ask(redis_url, "DELETE", "/directions/x", bearer(token), **options).status_code == status
    without_file = ask(redis_url, "DELETE", "/directions/x", bearer("admin"), api_key="key")
    assert without_file.status_code == 401


def test_the_scheme_is_read_as_the_rfc_has_it(redis_url: str) -> None:
    for header, status in (("bearer key", 200), ("BEARER key", 200), ("Bearer  key", 200), ("Bearer key,key", 401)):
        response = ask(redis_url, "GET", "/directions", {"Authorization": header}, api_key="key")
        assert response.status_code == status


@pytest.mark.parametrize(("method", "path"), [("GET", "/directions"), ("OPTIONS", "/filter"), ("POST", "/filter")])
def test_no_other_origin_is_ever_let_in(method: str, path: str, redis_url: str) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for headers in (asked, asked | bearer("key"), asked | bearer("wrong")):
        response = ask(redis_url, method, path, headers, api_key="key")
        assert [name for name in response.headers if name.startswith("access-control-")] == []
