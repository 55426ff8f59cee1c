"""What is said once all is decided."""

from dataclasses import replace

import pytest
from congrad.commands.filtering.telling.summary import show_summary
from congrad.contract import wire

ROW = wire.Decision(
    id="line 1", language="de", keep=True, conflict_score=-0.1, conflicts_with=[], truncated=False, reason=None
)
DIRECTION = wire.DirectionRef(name="default", version=1, checkpoint="c", languages={"de": 2})


@pytest.mark.parametrize(("cut", "words"), [(1, "1 row was cut at the check"), (2, "2 rows were cut at the check")])
def test_rows_that_were_cut_are_counted(cut: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    decisions = [replace(ROW, id=f"line {number}", truncated=number < cut) for number in range(3)]
    show_summary(decisions, DIRECTION, [])
    assert words in capsys.readouterr().err


def test_notes_come_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show_summary([ROW], DIRECTION, ["the labels of de pull against most others"])
    assert "the labels of de pull against most others\nlook at some pairs before trusting" in capsys.readouterr().err
    show_summary([ROW], DIRECTION, [])
    assert "look at some pairs" not in capsys.readouterr().err


def test_a_report_that_was_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    show_summary([ROW], DIRECTION, ["the labels of de pull against most others"], "report.html")
    told = capsys.readouterr().err
    assert "look at some pairs before trusting what was dropped: report.html shows them" in told
    assert "--report" not in told


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (1, "1 pair was in the direction already, and counts once"),
        (2, "2 pairs were in the direction already, and count once"),
    ],
)
def test_pairs_that_come_again_are_counted(times: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_summary([replace(ROW, id=f"line {number}", repeated=number < times) for number in range(3)], DIRECTION, [])
    assert words in capsys.readouterr().err
