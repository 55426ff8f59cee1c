"""How far a run is, where there is no terminal."""

import pytest
from congrad.showing.progress import passes_in_lines, progress_bar, row_counter


def test_a_line_is_printed_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    told = passes_in_lines(100, 2, lambda: now[0])
    for second in range(10, 101, 10):
        now[0] = second
        told(10)
    told.again()
    for _ in range(10):
        told(10)  # all at once
    assert capsys.readouterr().err.splitlines() == [
        "filtering: 15%, 0:02:25 left",
        "filtering: 30%, 0:01:55 left",
        "filtering: 45%, 0:01:25 left",
    ]


def test_a_library_prints_none(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(2, None) as told:
        told(2)
    assert capsys.readouterr().err == ""


def test_a_line_now_and_then_says_how_much_of_a_file_has_been_read(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with row_counter("reading", in_lines=True, clock=lambda: now[0]) as count:
        for rows in range(1, 100_001):
            now[0] = rows / 1_000  # seconds
            count(rows)
    assert capsys.readouterr().err.splitlines() == [
        "reading: 30,000 rows so far",
        "reading: 60,000 rows so far",
        "reading: 90,000 rows so far",
    ]
