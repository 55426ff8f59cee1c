"""A real browser, driven by Playwright: Debian's Chromium, which reaches this machine and nothing else."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

AXE = Path(__file__).with_name("vendor") / "axe.min.js"

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first is the same engine without a browser's own pages around it: it starts in less than half the time."""

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Chromium without a window. Skips where there is none.

    Other tests run event loops of their own, which Playwright's keeps them from while it is open: so it should not be
    open for longer than a module.
    """
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium-headless-shell")
    # Chromium's sandbox refuses to run as root; the pages are ours. No name has an address: nothing works by a network.
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=arguments + ["--no-sandbox"] * (os.geteuid() == 0)
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, may_complain: bool = False, **options: Any) -> Iterator[Page]:
    """A page in a profile of its own. It must not ask anybody but ``url``'s host, nor throw an error, nor write to the
    console, but for what ``may_complain`` allows: that a request was not answered well.
    """
    usual: dict[str, Any] = {"viewport": DESKTOP, "reduced_motion": "reduce", "color_scheme": "light"}
    context = browser.new_context(**usual | options)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text))
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    origin = "/".join(url.split("/")[:3]) + "/"
    assert [target for target in asked if not target.startswith((origin, "data:", "blob:"))] == []
    assert [line for line in said if not (may_complain and line.startswith("Failed to load resource"))] == []


def accessibility_faults(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is now, by all of its rules."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [f"{fault['id']}: {node['html']}" for fault in found["violations"] for node in fault["nodes"]]
