"""The `Prefer` header."""

import pytest
from congrad_service.http.prefer import parse_prefer


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, 600),
        ("", 600),
        ("wait=10", 10),
        ('wait="10"', 10),
        ("Wait = 10", 10),
        ("respond-async", 0),
        ("respond-async, wait=10", 10),
        ("wait=100000", 600),
        ("wait=-1", 600),
        ("wait=soon", 600),
        ("wait=²", 600),
        ("handling=lenient", 600),
    ],
)
def test_preferences_that_make_no_sense_are_ignored(header: str | None, wait: int) -> None:
    assert parse_prefer([] if header is None else [header], 600.0).wait == wait


@pytest.mark.parametrize(
    "lines", [["handling=lenient", "wait=10"], ["respond-async; foo=1", "wait=10; bar"], ['foo="a, wait=9"', "wait=10"]]
)
def test_it_may_come_in_several_lines_and_with_parameters(lines: list[str]) -> None:
    assert parse_prefer(lines, 600.0).wait == 10


def test_a_preference_may_have_parameters() -> None:
    assert parse_prefer(["respond-async; foo=1"], 600.0).wait == 0
