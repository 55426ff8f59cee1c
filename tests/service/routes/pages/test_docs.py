"""`/docs`: nothing of it comes from elsewhere."""

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect
from support.attacks import service_process
from support.browser import opened, running_chromium
from support.serving import service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as chromium:
        yield chromium


def test_the_page_names_only_files_of_the_service_which_are_there(redis_url: str) -> None:
    async def ask() -> None:
        async with service(redis_url) as client:
            page = await client.get("/docs")
            named = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page.text)
            targets = [one or other for one, other in named]
            assert len(targets) == 4
            for target in targets:
                assert "//" not in target
                assert (await client.get(f"/{target}")).status_code == 200, target

    asyncio.run(ask())


def test_its_policy_lets_it_load_nothing_else(redis_url: str) -> None:
    async def ask() -> httpx.Response:
        async with service(redis_url) as client:
            return await client.get("/docs")

    policy = dict(part.split(" ", 1) for part in asyncio.run(ask()).headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/=]+'", policy["script-src"])


def test_a_browser_shows_it_and_asks_nobody_else(redis_server: str, browser: Browser) -> None:
    """What the policy forbids would be a line on the console."""
    with service_process(redis_server) as running, opened(browser, f"{running.url}/docs") as page:
        live = page.locator(".opblock", has_text="/livez").first
        live.click(timeout=60_000)
        live.get_by_role("button", name="Try it out").click()
        live.get_by_role("button", name="Execute").click()
        expect(live.get_by_text('"status": "live"').first).to_be_visible()
