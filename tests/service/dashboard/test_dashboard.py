"""The dashboard's files as they are served; what they do in a browser is in tests/e2e/test_dashboard.py."""

import asyncio
import gzip
import re
from html.parser import HTMLParser
from pathlib import PurePath
from typing import Any

import httpx
import pytest
from congrad_service.routes.pages.dashboard import ASSETS
from support.serving import service

PAGE = "/dashboard"
OWN = sorted(name for name in ASSETS if "vendor/" not in name)


def ask(redis_url: str, path: str, **request: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        async with service(redis_url) as client:
            return await client.get(path, **request)

    return asyncio.run(once())


class References(HTMLParser):
    """The files that a page names, by the kind of reference."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if target := given.get("src") or given.get("href"):
            self.found.append((given.get("rel") or tag, target))


@pytest.fixture
def references(redis_url: str) -> list[tuple[str, str]]:
    return References(ask(redis_url, PAGE).text).found


def test_the_page_names_files_that_are_there(redis_url: str, references: list[tuple[str, str]]) -> None:
    async def missing() -> list[str]:
        async with service(redis_url) as client:
            return [target for _, target in references if (await client.get(f"/{target}")).status_code != 200]

    assert len(references) > 20
    assert asyncio.run(missing()) == []


def test_every_module_is_asked_for_at_once(references: list[tuple[str, str]]) -> None:
    """Not only once the modules that import it were read."""
    imported = {
        f"dashboard/{(PurePath(name).parent / module).as_posix()}"
        for name in ASSETS
        if name.endswith(".js")
        for module in re.findall(r'from "\./([^"]+)"', text(name))
    }
    assert len(imported) > 20
    assert imported == {target for kind, target in references if kind == "modulepreload"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/pictures/vendor/d3.min.js", "text/javascript; charset=utf-8"),
        ("/pictures/pictures.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/pictures/vendor/inter.woff2", "font/woff2"),
    ],
)
def test_files_are_served_as_what_they_are_and_allow_nothing_from_elsewhere(
    path: str, kind: str, redis_url: str
) -> None:
    headers = ask(redis_url, PAGE + path).headers
    assert headers["content-type"] == kind
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["font-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"


def test_what_a_browser_has_already_is_not_sent_again(redis_url: str) -> None:
    first = ask(redis_url, f"{PAGE}/app.js")
    again = ask(redis_url, f"{PAGE}/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    changed = ask(redis_url, f"{PAGE}/app.js", headers={"If-None-Match": 'W/"another"'})
    assert changed.content == first.content == ASSETS["app.js"].content


def test_files_are_sent_small_to_who_can_read_them_so(redis_url: str) -> None:
    async def raw(coding: str) -> tuple[httpx.Headers, bytes]:
        async with (
            service(redis_url) as client,
            client.stream("GET", f"{PAGE}/pictures/vendor/plot.min.js", headers={"Accept-Encoding": coding}) as answer,
        ):
            return answer.headers, b"".join([chunk async for chunk in answer.aiter_raw()])

    content = ASSETS["pictures/vendor/plot.min.js"].content
    headers, small = asyncio.run(raw("gzip"))
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(small) == content
    assert len(small) < len(content) / 2
    assert asyncio.run(raw("br, GZIP;q=0.5"))[1] == small
    for coding in ("identity", "gzip;q=0", "br, gzip; q=0.000"):
        headers, plain = asyncio.run(raw(coding))
        assert "content-encoding" not in headers
        assert plain == content


def test_with_a_slash_behind_it_the_page_is_found_as_well(redis_url: str) -> None:
    assert ask(redis_url, f"{PAGE}/", follow_redirects=True).content == ASSETS["index.html"].content


@pytest.mark.parametrize("path", ["nothing.js", "__init__.py", "../app.py", "%2e%2e/app.py", "vendor", "x" * 3000])
def test_what_is_no_file_of_the_page_is_not_found(path: str, redis_url: str) -> None:
    response = ask(redis_url, f"{PAGE}/{path}")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("name", OWN)
def test_no_file_of_ours_names_another_host_or_makes_markup_of_text(name: str) -> None:
    found = re.findall(r"https?://\S+|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text(name))
    assert [word for word in found if not word.startswith("http://www.w3.org/2000/svg")] == []


def text(name: str) -> str:
    return ASSETS[name].content.decode("utf-8", "replace")
