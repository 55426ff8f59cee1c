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
    assert parse_prefer(header, 600.0).wait == wait
