"""What a browser can be made to ask for: a service without a token is for the programs of its machine."""

import asyncio
from typing import Any

import httpx
import pytest
from support.serving import service

TOKEN = {"Authorization": "Bearer secret"}


def ask(redis_url: str, method: str, path: str, headers: dict[str, str], **options: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        async with service(redis_url, **options) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(once())


def problem(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["detail"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000"])
def test_a_service_without_a_token_is_asked_for_by_the_names_of_loopback(host: str, redis_url: str) -> None:
    assert ask(redis_url, "GET", "/directions", {"Host": host}).status_code == 200


FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "[::2]",
    "a@localhost",
    "",
]


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/livez", "/directions", "/docs", "/dashboard", "/nowhere"])
def test_and_by_no_name_that_someone_else_can_point_to_this_machine(path: str, host: str, redis_url: str) -> None:
    assert "CONGRAD_TRUSTED_HOSTS" in problem(ask(redis_url, "GET", path, {"Host": host}), 421)


def test_a_request_names_the_service_once(redis_url: str) -> None:
    async def once() -> httpx.Response:
        async with service(redis_url) as client:
            return await client.get("/directions", headers=[("Host", "localhost"), ("Host", "evil.example")])

    problem(asyncio.run(once()), 421)


@pytest.mark.parametrize(
    ("trusted", "host", "status"),
    [
        ("filter.example.org", "filter.example.org", 200),
        ("filter.example.org", "localhost", 200),
        ("filter.example.org", "other.example.org", 421),
        ("a.example,*.example.org", "filter.example.org:80", 200),
        ("a.example,*.example.org", "example.org", 421),
        ("*", "evil.example", 200),
    ],
)
def test_other_names_are_those_that_the_setting_has(trusted: str, host: str, status: int, redis_url: str) -> None:
    assert ask(redis_url, "GET", "/directions", {"Host": host}, trusted_hosts=trusted).status_code == status


@pytest.mark.parametrize("trusted", ["a b", "*.*.example", "a,,b", ",", "exam*ple.org"])
def test_what_is_no_list_of_names_is_refused(trusted: str, redis_url: str) -> None:
    with pytest.raises(ValueError, match="trusted_hosts"):
        ask(redis_url, "GET", "/livez", {}, trusted_hosts=trusted)


def test_where_a_token_is_asked_for_any_name_will_do_unless_some_are_set(redis_url: str) -> None:
    foreign = {"Host": "evil.example"}
    assert ask(redis_url, "GET", "/directions", foreign | TOKEN, api_key="secret").status_code == 200
    named = {"api_key": "secret", "trusted_hosts": "filter.example.org"}
    problem(ask(redis_url, "GET", "/directions", foreign | TOKEN, **named), 421)
    problem(ask(redis_url, "GET", "/directions", {"Host": "localhost"} | TOKEN, **named), 421)
    assert ask(redis_url, "GET", "/directions", {"Host": "filter.example.org"} | TOKEN, **named).status_code == 200


OWN: list[dict[str, str]] = [
    {},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "none"},
]
OTHERS: list[dict[str, str]] = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
]
CHANGES = [("POST", "/filter"), ("DELETE", "/directions/x"), ("PUT", "/directions/x/state"), ("DELETE", "/jobs/x")]


@pytest.mark.parametrize("headers", OTHERS)
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_a_page_of_another_origin_has_nothing_done(
    method: str, path: str, headers: dict[str, str], redis_url: str
) -> None:
    assert "another origin" in problem(ask(redis_url, method, path, headers), 403)


@pytest.mark.parametrize("headers", OWN)
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_programs_and_pages_of_the_service_are_not_taken_for_one(
    method: str, path: str, headers: dict[str, str], redis_url: str
) -> None:
    assert ask(redis_url, method, path, headers).status_code in (404, 415, 422)


def test_a_page_of_another_site_may_link_to_the_service_and_load_nothing_from_it(redis_url: str) -> None:
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    loaded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert ask(redis_url, "GET", "/dashboard", linked).status_code == 200
    problem(ask(redis_url, "GET", "/directions", loaded), 403)


def test_with_a_token_it_is_the_token_that_counts(redis_url: str) -> None:
    other = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert ask(redis_url, "DELETE", "/directions/x", other | TOKEN, api_key="secret").status_code == 404
    problem(ask(redis_url, "DELETE", "/directions/x", other, api_key="secret"), 401)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/directions", 200),
        ("/livez", 200),
        ("/nowhere", 404),
        ("/jobs/x", 404),
        ("/metrics", 200),
        ("/openapi.json", 200),
    ],
)
def test_an_answer_is_for_who_asked_and_for_nothing_else(path: str, status: int, redis_url: str) -> None:
    answer = ask(redis_url, "GET", path, {})
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_so_are_refusals(redis_url: str) -> None:
    for answer in (
        ask(redis_url, "GET", "/directions", {}, api_key="secret"),
        ask(redis_url, "GET", "/directions", {"Host": "evil.example"}),
        ask(redis_url, "POST", "/filter", {"Content-Length": "101"}, max_body_bytes=100),
    ):
        assert answer.status_code >= 400
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/directions/", "/jobs/", "/livez/", "/docs/"])
def test_no_answer_leads_to_a_name_that_the_client_made_up(path: str, redis_url: str) -> None:
    answer = ask(redis_url, "GET", path, {"Host": "evil.example"}, trusted_hosts="*")
    assert answer.status_code == 404
    assert "location" not in answer.headers
