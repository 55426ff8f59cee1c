"""How a result shows itself in a notebook."""

import re
from html.parser import HTMLParser

import congrad
import pytest
from congrad.contract import wire


class Shown(HTMLParser):
    """The cells of each row of a piece of HTML, and the bars of each picture by their colour."""

    def __init__(self, piece: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.bars: list[list[str]] = []
        self.tags: set[str] = set()
        self._is_cell = False
        self.feed(piece)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag == "svg":
            self.bars.append([])
        elif tag == "rect":
            self.bars[-1].append(dict(attrs)["fill"] or "")
        if tag in ("td", "th"):
            self._is_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = self._is_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1][-1] += data


def decision(score: float | None, tag: str, keep: bool) -> wire.Decision:
    return wire.Decision("x", tag, keep, score, [], truncated=score is None, reason=None)


def filtered(*decisions: wire.Decision, name: str = "default") -> congrad.Filtered:
    against = wire.DirectionRef(name=name, version=7, checkpoint="llama", languages={"de": 3})
    return congrad.Filtered(list(decisions), against, ["job"], [])


DECISIONS = (
    decision(-0.3, "de", True),
    decision(-0.3, "de", True),
    decision(0.25, "de", False),
    decision(0.1, "fr", False),
    decision(None, "fr", True),
)


def test_a_result_is_a_table_by_language_with_a_picture_in_each_row() -> None:
    shown = Shown(filtered(*DECISIONS)._repr_html_())
    head, *rows = shown.rows
    assert head[5] == "conflict score, −0.3 to 0.3"
    assert head[:5] == ["language", "■ kept", "■ dropped", "share kept", "mean conflict"]
    assert [row[:5] for row in rows] == [["de", "2", "1", "67 %", "−0.117"], ["fr", "1", "1", "50 %", "+0.100"]]
    kept, dropped = shown.bars[0]
    assert kept != dropped
    assert shown.bars[1] == [dropped]


def test_a_result_says_how_much_was_kept_and_against_what() -> None:
    said = re.sub(r"<[^>]+>", "", filtered(*DECISIONS)._repr_html_())
    assert "Kept 3 of 5 pairs (60 %), scored against version 7 of direction default of llama" in said
    assert "1 without a score, 1 truncated" in said


def test_a_notebook_that_strips_scripts_and_styles_loses_nothing() -> None:
    shown = Shown(filtered(*DECISIONS)._repr_html_())
    assert not shown.tags & {"script", "style", "link", "img"}


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x>'])
def test_names_are_no_markup(text: str) -> None:
    tame, hostile = filtered(decision(0.1, "de", False)), filtered(decision(0.1, text, False), name=text)
    assert Shown(hostile._repr_html_()).tags == Shown(tame._repr_html_()).tags
    assert Shown(hostile._repr_html_()).rows[1][0] == text


def test_a_result_without_pairs_or_direction_is_shown_too() -> None:
    empty = congrad.Filtered([], None, [], [])._repr_html_()
    assert "Kept 0 of 0 pairs" in empty
    assert len(Shown(empty).rows) == 1
