"""A report as a reader opens it: from the disk, in a real Chromium, without a network."""

import json
import os
import time
import uuid
import xml.etree.ElementTree as ElementTree
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow
import pytest
from congrad import Client, Filtered
from congrad.contract import wire
from congrad.local.stack import Stack
from playwright.sync_api import Browser, Locator, Page, expect
from pyarrow import parquet
from support.browser import DESKTOP, PHONE, accessibility_faults, opened, running_chromium
from support.commands import run
from support.models import SHARED_PAIRS
from support.pairs import demo_samples

HOSTILE = "</script><script>document.title = 'hostile'</script><img src=x onerror=\"document.title = 'hostile'\">"


@dataclass(frozen=True)
class Run:
    """A file that was filtered, what came of it, and its report."""

    rows: list[dict[str, Any]]
    decisions: list[wire.Decision]
    direction: str
    scores: Path
    source: Path
    report: Path

    def of(self, **wanted: Any) -> list[wire.Decision]:
        """The decisions that are like that."""
        return [own for own in self.decisions if all(getattr(own, name) == value for name, value in wanted.items())]


def rows() -> list[dict[str, Any]]:
    """Real pairs, and among them: one that is nothing to learn from, a hostile one, and a conversation."""
    samples = [
        {name: row[name] for name in ("language", "prompt", "chosen", "rejected")} for row in demo_samples(each=8)
    ]
    samples[3]["rejected"] = samples[3]["chosen"]
    samples[20]["prompt"] += HOSTILE
    samples[30] = {
        "language": samples[30]["language"],
        "chosen": [{"role": "user", "content": samples[30]["prompt"]}, {"role": "assistant", "content": HOSTILE}],
        "rejected": [{"role": "user", "content": samples[30]["prompt"]}, {"role": "assistant", "content": "No."}],
    }
    return samples


def read_decisions(path: Path) -> list[wire.Decision]:
    return [wire.Decision(**json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def filtered(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of `congrad filter --report` on a live stack."""
    folder = tmp_path_factory.mktemp("report")
    source, scores, report = folder / "in.jsonl", folder / "scores.jsonl", folder / "report.html"
    samples = rows()
    source.write_text("".join(json.dumps(row) + "\n" for row in samples), encoding="utf-8")
    direction = f"report-{uuid.uuid4().hex}"
    done = run("filter", str(source), "-o", str(folder / "kept.jsonl"), "--scores", str(scores),
               "--report", str(report), "--url", stack.url, "--direction", direction,
               "--max-conflict", "0.02")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Run(samples, read_decisions(scores), direction, scores, source, report)


@pytest.fixture
def page(browser: Browser, filtered: Run) -> Iterator[Page]:
    """The report of the run."""
    with opened(browser, filtered.report.as_uri(), offline=True) as shown:
        expect(shown.locator("table.pairs tbody tr").first).to_be_visible()
        yield shown


def cells(table: Locator) -> list[list[str]]:
    """The text of all cells of a table's body."""
    script = "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    found: list[list[str]] = table.evaluate(script)
    return found


def number(text: str) -> float:
    """A number as the page writes it."""
    return float(text.replace("−", "-").replace("\u202f", "").replace(" ", "").removesuffix("%"))


def test_the_figures_are_those_of_the_run(page: Page, filtered: Run, client: Client) -> None:
    figures = dict(
        page.locator(".figure").evaluate_all(
            "all => all.map(one => [...one.querySelectorAll('dt, b')].map(part => part.textContent))"
        )
    )
    assert {name: number(value) for name, value in figures.items()} == {
        "Kept": len(filtered.of(keep=True)),
        "Dropped": len(filtered.of(keep=False)),
        "Without a score": len(filtered.of(conflict_score=None)),
        "Truncated": len(filtered.of(truncated=True)),
    }
    assert filtered.of(conflict_score=None)
    expect(page.locator("h1")).to_have_text("in.jsonl")
    expect(page.locator(".lead")).to_contain_text(
        f"of direction {filtered.direction} of {client.directions.get(filtered.direction).checkpoint}"
    )


def test_counts_and_means_by_language_are_those_of_the_run(page: Page, filtered: Run) -> None:
    table = {row[0].split(" ")[0]: [number(cell) for cell in row[1:]] for row in cells(page.locator("table.languages"))}
    assert table.keys() == {own.language for own in filtered.decisions}
    for tag, (pairs, kept, dropped, share, mean) in table.items():
        own = filtered.of(language=tag)
        scores = [one.conflict_score for one in own if one.conflict_score is not None]
        assert [pairs, kept, dropped] == [len(own), len(filtered.of(language=tag, keep=True)), pairs - kept]
        assert share == pytest.approx(100 * kept / pairs, abs=0.51)
        assert mean == pytest.approx(np.mean(scores), abs=6e-4)


def test_cosines_are_those_of_the_direction(page: Page, filtered: Run, client: Client) -> None:
    direction = client.directions.get(filtered.direction)
    page.locator("#agreement summary").click()
    *tables, counted = page.locator("#agreement table").all()
    for table, cosines in zip(tables, (direction.cosines_before, direction.cosines_after), strict=True):
        found = cells(table)
        assert [row[0] for row in found] == list(direction.languages)
        assert np.allclose([[number(cell) for cell in row[1:]] for row in found], cosines, atol=0.0051)
    shares = {tag: number(share) for tag, share in cells(counted)}
    assert shares == pytest.approx({tag: 100 * weight for tag, weight in direction.weights.items()}, abs=0.51)
    expect(page.locator("#agreement svg.picture")).to_be_visible()


def test_conflicts_are_counted_over_the_dropped_pairs(page: Page, filtered: Run) -> None:
    page.locator("#conflicts summary").click()
    heads = page.locator("#conflicts thead th").all_text_contents()[2:]
    for tag, dropped, *counts in cells(page.locator("#conflicts table")):
        own = [one for one in filtered.of(language=tag, keep=False) if one.conflict_score is not None]
        expected = Counter(other for one in own for other in one.conflicts_with)
        assert int(dropped) == len(own)
        assert dict(zip(heads, map(int, counts), strict=True)) == {other: expected[other] for other in heads}
        assert expected.keys() <= set(heads)


def test_moving_the_threshold_shows_what_it_would_keep(page: Page, filtered: Run) -> None:
    scores = [own.conflict_score for own in filtered.decisions if own.conflict_score is not None]
    slider = page.get_by_role("slider", name="Threshold")
    assert float(slider.input_value()) == pytest.approx(0.02)
    for value in (0.02, -0.05, 0.06):
        slider.fill(f"{value:.2f}")
        kept = sum(score <= value for score in scores)
        expect(page.locator("#scores output")).to_contain_text(f" {kept} of {len(scores)} scored pairs would be kept")
    picture = page.locator("#scores svg.picture")
    before = picture.get_attribute("aria-label")
    slider.press("ArrowLeft")
    expect(picture).not_to_have_attribute("aria-label", before or "")


def test_a_search_finds_pairs_by_their_texts_and_opens_them(page: Page, filtered: Run) -> None:
    position = next(number for number, row in enumerate(filtered.rows) if row["language"] == "ar")
    word = max(filtered.rows[position]["chosen"].split(), key=len)
    holding = [row for row in filtered.rows if word in json.dumps(row, ensure_ascii=False)]
    page.get_by_label("Search").fill(word)
    expect(page.locator("#pairs-table [role=status]")).to_have_text(f"{len(holding)} pair{'s' * (len(holding) != 1)}")
    row = page.locator(
        "table.pairs tbody tr", has=page.get_by_role("button", name=filtered.decisions[position].id, exact=True)
    )
    row.get_by_role("button").press("Enter")
    texts = page.locator("table.pairs .details:visible .text")
    assert texts.all_text_contents() == [filtered.rows[position][part] for part in ("prompt", "chosen", "rejected")]
    for text in texts.all():
        assert text.get_attribute("lang") == "ar"
        assert text.evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_a_hostile_text_stays_a_text(page: Page, filtered: Run) -> None:
    page.get_by_label("Search").fill("document.title")
    expect(page.locator("#pairs-table [role=status]")).to_have_text("2 pairs")
    for button in page.locator("table.pairs button.opener").all():
        button.click()
    texts = page.locator("table.pairs .details:visible .text").all_text_contents()
    assert filtered.rows[20]["prompt"] in texts
    assert HOSTILE in texts
    assert page.locator("table.pairs .details .role").all_text_contents() == ["user", "assistant", "assistant"]
    assert page.title() == "in.jsonl · CONGRAD report"
    assert page.locator("img").count() == 0


def test_the_table_sorts_and_filters_over_all_pairs(page: Page, filtered: Run) -> None:
    def shown() -> list[str]:
        return [row[0] for row in cells(page.locator("table.pairs")) if len(row) > 1]

    scored = [own for own in filtered.decisions if own.conflict_score is not None]
    ranked = sorted(scored, key=lambda own: -(own.conflict_score or 0))
    assert shown() == [own.id for own in ranked[:50]]
    page.get_by_role("button", name="Next").click()
    assert shown()[: len(ranked) - 50] == [own.id for own in ranked[50:]][:50]
    page.locator("table.pairs thead button", has_text="Pair").click()
    assert shown() == [own.id for own in filtered.decisions[:50]]
    tools = page.locator("#pairs-table form")
    tools.get_by_label("Language").select_option("de")
    tools.get_by_label("Decision").select_option("dropped")
    assert shown() == [own.id for own in filtered.of(language="de", keep=False)]
    tools.get_by_label("Language").select_option("")
    tools.get_by_label("Decision").select_option("without a score")
    assert shown() == [own.id for own in filtered.of(conflict_score=None)]


def test_the_worst_and_the_best_of_a_language_are_shown_with_their_texts(page: Page, filtered: Run) -> None:
    page.locator("#extremes").get_by_label("Language").select_option("fr")
    own = sorted(filtered.of(language="fr"), key=lambda one: -(one.conflict_score or 0))
    worst, best = page.locator(".extremes > div").all()
    for side, expected in ((worst, own[:4]), (best, own[::-1][:4])):
        cards = side.locator(".card").all()
        assert [number(card.locator(".facts b").inner_text()) for card in cards] == pytest.approx(
            [one.conflict_score for one in expected], abs=6e-4
        )
        row = filtered.rows[filtered.decisions.index(expected[0])]
        assert cards[0].locator(".text").all_text_contents() == [row[part] for part in ("prompt", "chosen", "rejected")]


@pytest.mark.parametrize(
    "name", ["cosines", *(pytest.param(name, marks=pytest.mark.slow) for name in ("scores", "conflicts"))]
)
def test_each_picture_is_saved_as_svg_and_as_png(name: str, page: Page, browser: Browser, tmp_path: Path) -> None:
    figure = page.locator("figure").nth(["scores", "cosines", "conflicts"].index(name))
    saved = {}
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            figure.get_by_role("button", name=kind).click()
        saved[kind] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[kind])
    assert [path.name for path in saved.values()] == [f"in-{name}.svg", f"in-{name}.png"]
    drawing = saved["SVG"].read_text(encoding="utf-8")
    root = ElementTree.fromstring(drawing)  # noqa: S314 # the page's own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [word for word in ("var(", "color-mix(", "color(", "light-dark(") if word in drawing]
    with opened(browser, "about:blank") as shown:
        shown.set_content(f'<img src="data:image/png;base64,{b64encode(saved["PNG"].read_bytes()).decode()}">')
        width, height, colours = shown.evaluate(COLOURS)
    assert (width, height) == (2 * float(root.attrib["width"]), 2 * float(root.attrib["height"]))
    assert colours > 20


COLOURS = """async () => {
  const image = document.querySelector("img");
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return [canvas.width, canvas.height, new Set(pixels).size];
}"""
"""The size of the image that is shown, and how many colours it has."""


@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [
        pytest.param("light", DESKTOP, id="light-desktop"),
        pytest.param("dark", PHONE, id="dark-phone", marks=pytest.mark.slow),
        pytest.param("dark", DESKTOP, id="dark-desktop", marks=pytest.mark.slow),
        pytest.param("light", PHONE, id="light-phone", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_to_mend(
    scheme: Literal["light", "dark"], viewport: dict[str, int], browser: Browser, filtered: Run
) -> None:
    url = filtered.report.as_uri()
    with opened(browser, url, offline=True, color_scheme=scheme, viewport=viewport) as shown:
        expect(shown.locator("table.pairs tbody tr").first).to_be_visible()
        shown.locator("table.pairs button.opener").first.click()
        for summary in shown.locator("summary").all():
            summary.click()
        assert accessibility_faults(shown) == []
        assert shown.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def write_scores(path: Path, decisions: list[wire.Decision]) -> Path:
    path.write_text("".join(json.dumps(asdict(own)) + "\n" for own in decisions), encoding="utf-8")
    return path


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A report of all real pairs with their texts. Its scores are drawn, as a page is as large whatever they are."""
    if not SHARED_PAIRS.exists():
        pytest.skip(f"needs {SHARED_PAIRS}")
    drawn = np.random.default_rng(0).normal(-0.02, 0.1, 2090)
    rows = [json.loads(line) for line in SHARED_PAIRS.read_text(encoding="utf-8").split("\n") if line]
    tags = sorted({row["language"] for row in rows})
    scores, report = tmp_path / "scores.jsonl", tmp_path / "report.html"
    decisions = [
        wire.Decision(f"line {number}", row["language"], bool(score <= 0), float(score), tags[:3], False, None)
        for number, (row, score) in enumerate(zip(rows, drawn, strict=True), start=1)
    ]
    done = run("report", str(write_scores(scores, decisions)), "--samples", str(SHARED_PAIRS), "-o", str(report))
    assert done.returncode == 0, done.stderr
    return report


@pytest.mark.timing
def test_a_report_of_2090_pairs_is_small_and_opens_at_once(full: Path, browser: Browser) -> None:
    assert full.stat().st_size < 5_000_000
    times = []
    for _ in range(3):  # the best of three, as the machine does other things as well
        start = time.perf_counter()
        with opened(browser, full.as_uri(), offline=True) as shown:
            expect(shown.locator("table.pairs tbody tr").first).to_be_visible()
            times.append(time.perf_counter() - start)
            expect(shown.locator("svg.picture")).to_have_count(2)
    assert min(times) < 2, times


def decision(name: str, score: float | None, *, keep: bool, tag: str = "de") -> wire.Decision:
    return wire.Decision(name, tag, keep, score, [], False, None if score is not None else wire.Reason.ZERO_GRADIENT)


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ([decision("a", None, keep=False)], "No pair has a score."),
        ([decision("a", -0.1, keep=True)], "No pair with a score was dropped."),
        ([decision("a", -0.1, keep=False), decision("b", 0.1, keep=True)], "No single threshold explains"),
        ([decision("a", -0.1, keep=True)], "takes them from the file that was filtered"),
        ([decision("a", -0.1, keep=True, tag="x-klingon")], "asks the service for them"),
    ],
)
def test_what_is_missing_is_said(decisions: list[wire.Decision], said: str, browser: Browser, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = run("report", str(write_scores(tmp_path / "scores.jsonl", decisions)), "-o", str(report))
    assert done.returncode == 0, done.stderr
    with opened(browser, report.as_uri(), offline=True) as shown:
        expect(shown.locator("table.pairs tbody tr").first).to_be_visible()
        expect(shown.locator("main")).to_contain_text(said)


def test_no_language_is_called_undetermined_and_a_long_name_fits_a_phone(browser: Browser, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    decisions = [decision("a", -0.1, keep=True, tag="und"), decision("b", 0.1, keep=False, tag="zh-Hant-TW")]
    done = run("report", str(write_scores(tmp_path / "scores.jsonl", decisions)), "-o", str(report))
    assert done.returncode == 0, done.stderr
    with opened(browser, report.as_uri(), offline=True, viewport=PHONE | {"width": 360}) as shown:
        expect(shown.locator("table.languages")).to_contain_text("und Undetermined")
        expect(shown.get_by_label("Language").last).to_contain_text("zh-Hant-TW · Chinese (Traditional, Taiwan)")
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360


def test_scores_of_an_earlier_run_become_a_page_with_the_cosines_of_its_direction(
    filtered: Run, stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    report = tmp_path / "again.html"
    done = run("report", str(filtered.scores), "--samples", str(filtered.source), "-o", str(report),
               "--url", stack.url, "--direction", filtered.direction)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with opened(browser, report.as_uri(), offline=True) as shown:
        expect(shown.locator("#agreement svg.picture")).to_be_visible()
        expect(shown.locator("#run")).to_contain_text(filtered.direction)


def test_a_parquet_file_with_other_columns_has_its_texts_and_its_selection(
    stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    table = [
        {"lang": row["language"], "better": row["chosen"], "rejected": row["rejected"]}
        for row in demo_samples("de", "fr", each=4)
    ]
    source, report = tmp_path / "in.parquet", tmp_path / "report.html"
    parquet.write_table(pyarrow.Table.from_pylist(table), source)
    done = run("filter", str(source), "-o", str(tmp_path / "kept.parquet"), "--report", str(report), "--keep", "0.5",
               "--field", "chosen=better", "--language-field", "lang", "--url", stack.url,
               "--direction", f"report-{uuid.uuid4().hex}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    with opened(browser, report.as_uri(), offline=True) as shown:
        expect(shown.locator(".card").first).to_be_visible()
        texts = set(shown.locator(".card .text").all_text_contents())
        assert texts == {row[part] for row in table for part in ("better", "rejected")}
        kept = "the 50 % with the lowest conflict scores, of each language"
        expect(shown.locator("#overview")).to_contain_text(kept)
        expect(shown.locator("#run pre")).to_contain_text(
            "--field chosen=better --field language=lang --keep 0.5 --within language"
        )


def test_a_direction_that_is_not_there_has_no_report(filtered: Run, stack: Stack, tmp_path: Path) -> None:
    report = tmp_path / "again.html"
    done = run("report", str(filtered.scores), "-o", str(report), "--url", stack.url, "--direction", "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert not report.exists()


def test_a_result_shows_itself_in_a_notebook(filtered: Run, browser: Browser) -> None:
    result = Filtered(filtered.decisions, None, [], [])
    with opened(browser, "about:blank") as shown:
        shown.set_content(result._repr_html_())
        assert shown.locator("tbody tr").count() == len({own.language for own in filtered.decisions})
        for picture in shown.locator("svg").all():
            bars = picture.locator("rect").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().height)")
            assert bars
            assert all(0 < height <= 22.5 for height in bars)


def test_a_completion_is_shown_with_its_prompt(browser: Browser, tmp_path: Path) -> None:
    samples, report = tmp_path / "in.jsonl", tmp_path / "report.html"
    samples.write_text(json.dumps({"prompt": "Wie spät?", "completion": "Kurz nach drei."}), encoding="utf-8")
    scores = write_scores(tmp_path / "scores.jsonl", [decision("line 1", 0.2, keep=False)])
    done = run("report", str(scores), "--samples", str(samples), "-o", str(report))
    assert done.returncode == 0, done.stderr
    with opened(browser, report.as_uri(), offline=True) as shown:
        card = shown.locator(".card")
        expect(card.locator(".part-name")).to_have_text(["Prompt", "Completion"])
        expect(card.locator(".text")).to_have_text(["Wie spät?", "Kurz nach drei."])


def test_the_page_is_light_or_dark_as_chosen(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    shown = []
    for name in ("light", "dark", "system"):
        page.get_by_role("button", name="Theme").click()
        expect(page.get_by_role("button", name=f"Theme: {name}")).to_be_visible()
        shown.append(page.evaluate(ground))
    assert shown[0] == shown[2]
    assert shown[0] != shown[1]


def test_a_page_that_is_dark_is_printed_as_a_light_one(browser: Browser, tmp_path: Path) -> None:
    """Else its letters would be as light as the paper."""
    report = tmp_path / "report.html"
    decisions = [decision("a", -0.1, keep=True), decision("b", 0.1, keep=False)]
    done = run("report", str(write_scores(tmp_path / "scores.jsonl", decisions)), "-o", str(report))
    assert done.returncode == 0, done.stderr
    colours = "['main', 'svg.picture text'].map(one => getComputedStyle(document.querySelector(one)).color)"
    with opened(browser, report.as_uri(), offline=True) as shown:
        expect(shown.locator("svg.picture").first).to_be_visible()
        light = shown.evaluate(colours)
        shown.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert shown.evaluate(colours) != light
        shown.emulate_media(media="print")
        assert shown.evaluate(colours) == light


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS=FOLDER has pictures put there")
def test_pictures_are_taken_of_it(browser: Browser, stack: Stack, tmp_path: Path) -> None:
    """Of the shipped pairs; `make screenshots`."""
    source, report = tmp_path / "pairs.jsonl", tmp_path / "report.html"
    source.write_text("".join(json.dumps(row) + "\n" for row in demo_samples()), encoding="utf-8")
    done = run("filter", str(source), "-o", str(tmp_path / "kept.jsonl"), "--report", str(report),
               "--url", stack.url, "--direction", "policy-round-2")  # fmt: skip
    assert done.returncode == 0, done.stderr

    def take(name: str, first: str, last: str, scheme: Literal["light", "dark"]) -> None:
        """From the top of one element to the end of another."""
        with opened(browser, report.as_uri(), offline=True, color_scheme=scheme) as shown:
            shown.locator("#extremes").get_by_label("Language").select_option("es")
            top, end = shown.locator(first).bounding_box(), shown.locator(last).bounding_box()
            assert top is not None
            assert end is not None
            clip: Any = {
                "x": 0,
                "y": top["y"],
                "width": DESKTOP["width"],
                "height": end["y"] + end["height"] + 32 - top["y"],
            }
            shown.screenshot(path=Path(os.environ["SCREENSHOTS"]) / f"{name}.png", full_page=True, clip=clip)

    take("report-light", "body", "#scores", "light")
    take("report-pairs", "#extremes", ".extremes > div:last-child .card:nth-of-type(2)", "dark")
