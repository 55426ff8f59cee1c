"""The whole page in a real browser, with answers made up: states of a service that are hard to bring about."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from support.browser import PHONE, running_chromium
from support.page_modules import modules_page

AWAY = {"type": "about:blank", "title": "t", "status": 503, "detail": "the store did not answer", "errors": []}
QUEUE: dict[str, Any] = {"active": 0, "limit": 256, "oldest_s": None, "checkpoints": [], "decide": 0}

ENDLESS = """const ask = window.fetch;
window.fetch = (path, options) =>
    path === "events" ? Promise.resolve(new Response(new ReadableStream({}))) : ask(path, options)"""
"""Events that none come of, on a connection that stands."""

Show = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as chromium:
        yield chromium


def answer(page: Page, path: str, said: Any, status: int = 200) -> None:
    """Has a route answer from now on."""

    def fulfil(route: Route) -> None:
        route.fulfill(status=status, body=json.dumps(said), content_type="application/json")

    page.route(f"**/{path}", fulfil)


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """Shows the page where its routes answer so; it is drawn when this returns."""
    with modules_page(browser) as page:

        def shown(**answers: Any) -> Page:
            page.clock.install()
            page.evaluate(ENDLESS)
            known = {"directions": [], "jobs?*": [], "workers": [], "queue": QUEUE}
            for path, said in (known | {name.replace("jobs", "jobs?*"): one for name, one in answers.items()}).items():
                answer(page, path, said)
            page.add_style_tag(url="/dashboard.css")
            page.evaluate("import('/app.js').then(() => null)")
            page.get_by_text("Live", exact=True).wait_for()
            return page

        yield shown


def job(number: int, **others: Any) -> dict[str, Any]:
    """A row of `GET /jobs`."""
    known: dict[str, Any] = {"id": f"{number:032x}", "status": "queued", "direction": "d", "checkpoint": "c"}
    known |= {"samples": 1, "created": "2026-01-01T00:00:00Z", "ended": None, "progress": {"done": 0, "total": 1}}
    known |= {"kept": None, "dropped": None, "timing": None, "error": None, "starts": 1, "can_be_retried": True}
    return known | {"retried": None, "retained": False} | others


def test_a_service_that_knows_nothing_new_is_not_called_live_though_its_events_are_open(show: Show) -> None:
    """As where Redis is away: the stream of events stands, and says nothing."""
    page = show()
    answer(page, "queue", AWAY, status=503)
    page.clock.run_for(6_000)
    told = page.get_by_role("status").get_by_text("Not up to date: the store did not answer; trying again")
    expect(told).to_be_visible()
    answer(page, "queue", QUEUE)
    answer(page, "jobs?*", [job(1)])  # what came meanwhile is read
    page.clock.run_for(6_000)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_text("1 job under way")).to_be_visible()


def test_of_more_jobs_than_are_listed_it_is_not_said_how_many_are_under_way(show: Show) -> None:
    """Only of those that are listed: there may be hundreds more."""
    page = show(jobs=[job(number) for number in range(50)])
    expect(page.locator("#jobs .hint").first).to_have_text("Of the latest 50, 50 are under way.")


def test_why_a_job_failed_can_be_read_on_a_phone_and_that_only_these_are_shown_is_seen(show: Show) -> None:
    error = AWAY | {"status": 500, "detail": f"sample 0 (id '{'x' * 200}') was given up"}
    page = show(jobs=[job(1, status="failed", error=error)])
    page.set_viewport_size(PHONE)
    table = page.get_by_role("region", name="Table of jobs")
    assert table.evaluate("region => region.scrollWidth <= region.clientWidth")
    button = page.get_by_role("button", name="Failed only")
    ground = "button => getComputedStyle(button).backgroundColor"
    before = button.evaluate(ground)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert button.evaluate(ground) != before


def test_a_checkpoint_of_a_long_name_makes_nobody_scroll_sideways(show: Show) -> None:
    waiting = {"checkpoint": "x" * 200, "fingerprint": "f", "tasks": 1}
    page = show(queue=QUEUE | {"checkpoints": [waiting]})
    page.set_viewport_size(PHONE)
    expect(page.get_by_text("x" * 200)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_window_is_not_called_by_what_the_page_does_not_know(show: Show) -> None:
    page = show()
    expect(page).to_have_title("No direction yet · CONGRAD")
    answer(page, "queue", AWAY | {"status": 401, "detail": "a token is needed"}, status=401)
    page.clock.run_for(6_000)
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page).to_have_title("A token is needed · CONGRAD")


def test_a_page_that_is_dark_is_printed_as_a_light_one(show: Show) -> None:
    page = show()
    ink = "getComputedStyle(document.querySelector('main')).color"
    light = page.evaluate(ink)
    for _ in range(2):
        page.get_by_role("button", name="Theme").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ink) != light
    page.emulate_media(media="print")
    assert page.evaluate(ink) == light
