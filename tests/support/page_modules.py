"""The dashboard's modules and pictures in a page of a real browser, without a service."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from congrad_service.dashboard.assets import load_assets
from playwright.sync_api import Browser, Page, Route

ORIGIN = "http://127.0.0.1:1"
"""Nobody listens there: what is asked of it is answered from the files."""

PAGE = """<!doctype html>
<html lang="en">
<link rel="stylesheet" href="/pictures/pictures.css">
<script src="/pictures/vendor/d3.min.js"></script>
<script src="/pictures/vendor/plot.min.js"></script>
<main id="main"></main>
</html>"""


@contextmanager
def modules_page(browser: Browser) -> Iterator[Page]:
    """An empty page that can import what the dashboard is served with: ``/live.js``, ``/pictures/pictures.js``. It must
    not throw an error."""
    files = load_assets()

    def answer(route: Route) -> None:
        file = files.get(urlsplit(route.request.url).path.removeprefix("/"))
        if file is None:
            route.fulfill(body=PAGE, content_type="text/html")
        else:
            route.fulfill(body=file.content, content_type=file.media_type)

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/*", answer)
    try:
        page.goto(ORIGIN)
        yield page
    finally:
        context.close()
    assert errors == []
