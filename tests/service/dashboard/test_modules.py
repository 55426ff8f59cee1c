"""The page's own modules in a real browser, one by one; the whole page is in tests/e2e/test_dashboard.py."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import running_chromium
from support.page_modules import modules_page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with modules_page(browser) as shown:
        yield shown


ORDER = """async (matrices) => {
    const { similarityOrder } = await import("/pictures/order.js");
    return matrices.map((cosines) => similarityOrder(cosines.map((_, index) => index), cosines));
}"""


def average_linkage(cosines: list[list[float]]) -> list[int]:
    """Merges the two groups that are most alike on average, with the ends together that are most alike."""

    def likeness(one: int, other: int) -> float:
        return (cosines[one][other] + cosines[other][one]) / 2

    def linkage(pair: tuple[list[int], list[int]]) -> float:
        return sum(likeness(one, other) for one in pair[0] for other in pair[1]) / (len(pair[0]) * len(pair[1]))

    groups = [[index] for index in range(len(cosines))]
    while len(groups) > 1:
        first, second = max(itertools.combinations(groups, 2), key=linkage)
        turns = [(left, right) for left in (first, first[::-1]) for right in (second, second[::-1])]
        left, right = max(turns, key=lambda turn: likeness(turn[0][-1], turn[1][0]))
        groups = [group for group in groups if group is not first and group is not second] + [left + right]
    return groups[0] if groups else []


def test_alike_languages_are_neighbours_by_average_linkage(page: Page) -> None:
    random = np.random.default_rng(0)
    drawn = [random.uniform(-1, 1, (size, size)) for size in (0, 1, 2, 3, 5, 8, 13, 21)]
    ties = [np.round(4 * cosines) / 4 for cosines in drawn]
    matrices = [cosines.tolist() for cosines in (*drawn, *ties, np.zeros((9, 9)))]
    assert page.evaluate(ORDER, matrices) == [average_linkage(cosines) for cosines in matrices]


def test_the_order_reads_each_cosine_a_few_times_only(page: Page) -> None:
    """By the cube of the languages it would stop the page for half a minute with 256 of them."""
    reads = page.evaluate("""async () => {
        const { similarityOrder } = await import("/pictures/order.js");
        let reads = 0;
        const count = { get: (row, index) => ((reads += 1), row[index]) };
        const tags = d3.range(40);
        similarityOrder(tags, tags.map((i) => new Proxy(tags.map((j) => Math.cos(i * j)), count)));
        return reads;
    }""")
    assert reads <= 4 * 40**2


MANY = """async (draw) => {
    const { cosineMatrix, conflictFlows } = await import("/pictures/pictures.js");
    const tags = d3.range(80).map((index) => `q${index}`);
    const before = tags.map((_, i) => tags.map((_, j) => (i === 3 && j === 7 ? -0.9 : 0.1)));
    const conflicts_with = (i) => Object.fromEntries(tags.filter((_, j) => i !== j).map((tag) => [tag, 1]));
    const own = (tag, i) => [tag, { dropped: 50, conflicts_with: conflicts_with(i) }];
    const languages = Object.fromEntries(tags.map(own));
    languages.q3.conflicts_with.q7 = 50;
    const picture =
        draw === "cosines"
            ? cosineMatrix({ languages: tags, before, after: before }, { width: 1200 })
            : conflictFlows({ languages, order: tags }, { width: 1200 });
    document.getElementById("main").append(picture);
}"""


def test_the_cosines_of_many_languages_are_few_elements_and_tell_what_is_pointed_at(page: Page) -> None:
    page.evaluate(MANY, "cosines")
    assert page.locator("svg.picture *").count() < 80**2 / 4, "a browser needs minutes for an element for each cell"
    conflict = page.locator("svg.picture path[fill*='var(--conflict) 100%']")
    assert conflict.count() == 2, "one cell before surgery and one after"
    conflict.first.hover()
    expect(page.locator("svg.picture text", has_text="q3 · q7")).to_contain_text("−0.900")


def test_the_conflicts_of_many_languages_are_few_elements_and_tell_what_is_pointed_at(page: Page) -> None:
    page.evaluate(MANY, "conflicts")
    assert page.locator("svg.picture *").count() < 80**2 / 4
    dots = page.locator("svg.picture [fill='var(--conflict)'] path")
    assert (dots.get_attribute("d") or "").count("M") == 80 * 79
    x, y = page.evaluate("""() => {
        const svg = document.querySelector("svg.picture");
        const at = (name, tag) => svg.scale(name).apply(tag) + svg.scale(name).bandwidth / 2;
        const box = svg.getBoundingClientRect();
        return [box.x + at("x", "q7"), box.y + at("y", "q3")];
    }""")
    page.mouse.move(x, y)
    expect(page.locator("svg.picture text", has_text="q3 against q7")).to_contain_text("50 of 50 dropped")


def test_pairs_without_a_score_have_no_part_in_the_mean_conflict(page: Page) -> None:
    def mean_and_weight(**scored: Any) -> list[float]:
        own = {"kept": 0, "dropped": 10, "mean_conflict": 0.5} | scored
        entry = {"by_language": {"de": own, "fr": {"kept": 8, "dropped": 0, "scored": 8, "mean_conflict": -0.5}}}
        found: list[float] = page.evaluate(
            """async (entry) => {
                const { MEASURES } = await import("/pictures/pictures.js");
                return [MEASURES.meanConflict.value(entry), MEASURES.meanConflict.weight(entry)];
            }""",
            entry,
        )
        return found

    assert mean_and_weight(scored=2) == [pytest.approx((2 * 0.5 - 8 * 0.5) / 10), 10]
    assert mean_and_weight(scored=0, mean_conflict=None) == [-0.5, 8]
    assert mean_and_weight() == [pytest.approx((10 * 0.5 - 8 * 0.5) / 18), 18], "an earlier worker did not count them"


WHAT_IF = """async (status) => {
    const { html, render } = await import("/vendor/htm-preact.js");
    const { Api } = await import("/api.js");
    const { WhatIf } = await import("/what-if.js");
    const main = document.getElementById("main");
    window.signals = [];
    const job = { id: "again", error: null, result: null };
    const api = {
        send: async () => ({ ...job, status: "queued" }),
        text: async (path, signal) => {
            window.signals.push(signal);
            return JSON.stringify({ ...job, status });
        },
    };
    const result = { decisions: [], direction: { languages: { de: 1, fr: 1 } } };
    render(html`<${Api.Provider} value=${api}><${WhatIf} id="job" result=${result} answer=${null} /><//>`, main);
    window.leave = () => render(null, main);
}"""


def test_a_question_that_is_cancelled_ends(page: Page) -> None:
    page.evaluate(WHAT_IF, "cancelled")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("status")).to_have_text("The question was cancelled.")
    assert page.evaluate("signals.length") == 1


def test_a_page_that_is_left_asks_no_more(page: Page) -> None:
    page.evaluate(WHAT_IF, "running")
    page.get_by_role("button", name="Ask").click()
    page.wait_for_function("signals.length === 2")
    page.evaluate("leave()")
    assert page.evaluate("signals.every((signal) => signal?.aborted)")


FOLLOW = """async (stands) => {
    const { follow } = await import("/live.js");
    window.asked = [];
    window.stop = new AbortController();
    const events = async function* (path, signal, opened) {
        window.asked.push(Date.now());
        opened();
        if (stands) await new Promise((over) => setTimeout(over, stands));
    };
    follow({ events }, { onEvent: () => {}, onState: () => {}, signal: window.stop.signal });
}"""


def waits(page: Page, stands: int) -> list[int]:
    """Milliseconds between the end of a stream and the next one, of streams that stand for so long."""
    page.clock.install()
    page.clock.pause_at("2100-01-01")
    page.evaluate(FOLLOW, stands)
    while page.evaluate("asked.length") < 7:
        page.clock.run_for(4_000)
    asked: list[int] = page.evaluate("asked")
    return [later - earlier - stands for earlier, later in itertools.pairwise(asked)]


def test_a_proxy_that_ends_streams_at_once_is_asked_ever_less_often(page: Page) -> None:
    assert waits(page, 0) == [500, 1000, 2000, 4000, 8000, 8000]


def test_a_stream_that_stood_for_a_while_is_opened_again_soon(page: Page) -> None:
    assert waits(page, 20_000) == [500] * 6


def test_waiting_for_the_connection_leaves_no_listeners_behind(page: Page) -> None:
    waits(page, 0)
    devtools = page.context.new_cdp_session(page)
    left = {}
    for target in ("window", "stop.signal"):
        found = devtools.send("Runtime.evaluate", {"expression": target})["result"]["objectId"]
        listeners = devtools.send("DOMDebugger.getEventListeners", {"objectId": found})["listeners"]
        left[target] = [one["type"] for one in listeners if one["type"] in ("online", "abort")]
    assert left == {"window": ["online"], "stop.signal": ["abort"]}, "those of the wait that is under way"


def test_a_turn_of_tool_calls_alone_shows_them(page: Page) -> None:
    page.evaluate("""async () => {
        const { html, render } = await import("/vendor/htm-preact.js");
        const { Api } = await import("/api.js");
        const { Decisions } = await import("/decisions.js");
        const calls = [{ name: "orologio", arguments: { fuso: "Roma" } }];
        const blocks = [{ type: "text", text: "Che " }, { type: "text", text: "ore sono?" }];
        const sample = {
            prompt: [{ role: "user", content: blocks }],
            chosen: [{ role: "assistant", thinking: "hm", content: null, tool_calls: calls }],
            rejected: [{ role: "assistant", content: "" }],
        };
        const decision = { id: "a", language: "it", keep: true, conflict_score: 0.1, conflicts_with: [], reason: null };
        const api = { text: async () => JSON.stringify([sample]) };
        render(
            html`<${Api.Provider} value=${api}><${Decisions} id="job" decisions=${[decision]} /><//>`,
            document.getElementById("main"),
        );
    }""")
    page.get_by_role("button", name="Show texts").click()
    shown = page.locator(".said dd")
    expect(shown.first).to_have_text("user: Che ore sono?")
    assert shown.all_text_contents()[1:] == [
        'assistant, thinking: hm\nassistant, calling: [{"name":"orologio","arguments":{"fuso":"Roma"}}]',
        "assistant: ",
    ]
