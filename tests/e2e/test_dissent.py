"""A language whose labels are inverted is named wherever somebody may look."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from congrad import Client
from congrad.local.stack import Stack
from playwright.sync_api import Browser
from support.browser import accessibility_faults, opened, running_chromium
from support.commands import run
from support.dashboard_page import percent, table_of
from support.pairs import demo_samples

DIRECTION = "inverted"
LANGUAGES = ("de", "en", "es", "fr", "it", "pl", "pt")
INVERTED = "de"
NAMED = "the labels of de pull against all others"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def report(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The report of a run of `congrad filter`, and what it said: for a person, and as JSON."""
    folder = tmp_path_factory.mktemp("inverted")
    rows = demo_samples(*LANGUAGES)
    for row in rows:
        if row["language"] == INVERTED:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    source, page = folder / "pairs.jsonl", folder / "report.html"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["filter", str(source), "--url", stack.url, "--direction", DIRECTION]
    done = run(*words, "-o", str(folder / "kept.jsonl"), "--report", str(page))
    assert done.returncode == 0, done.stderr
    again = run(*words, "-o", str(folder / "again.jsonl"), "--no-update", "--json")
    assert again.returncode == 0, again.stderr
    return page, done.stderr, again.stdout


@pytest.fixture
def note(stack: Stack, report: tuple[Path, str, str]) -> str:
    """What the route says of the direction, once the run has made it."""
    assert report[0].exists()
    with Client(stack.url) as client:
        direction = client.directions.get(DIRECTION)
    assert direction.weights.keys() == set(LANGUAGES)
    assert sum(map(abs, direction.weights.values())) == pytest.approx(1, abs=1e-5)
    [note] = direction.notes
    assert note.startswith(NAMED)
    return note


def test_filter_and_the_command_on_directions_name_it(stack: Stack, report: tuple[Path, str, str], note: str) -> None:
    _, said, as_json = report
    assert f"{note}\n" in said
    assert json.loads(as_json)["notes"] == [note]
    shown = run("direction", "show", DIRECTION, "--url", stack.url)
    assert f"{note}\n" in shown.stdout


def test_the_report_names_it(browser: Browser, report: tuple[Path, str, str], note: str) -> None:
    with opened(browser, report[0].as_uri()) as page:
        assert page.locator("#overview .warnings li").all_inner_texts() == [f"{note[0].upper()}{note[1:]}."]
        assert accessibility_faults(page) == []


def test_the_dashboard_names_it_with_what_it_counts(browser: Browser, stack: Stack, note: str) -> None:
    with Client(stack.url) as client:
        weights = client.directions.get(DIRECTION).weights
    with opened(browser, f"{stack.url}/dashboard?direction={DIRECTION}") as page:
        page.locator("svg.picture").first.wait_for()
        assert page.locator(".warnings li").all_inner_texts() == [f"{note[0].upper()}{note[1:]}."]
        counted = {row[0]: row[-1] for row in table_of(page, "samples")}
        assert counted == {tag: percent(weight) for tag, weight in weights.items()}
        assert accessibility_faults(page) == []
