"""Rows that prefer neither answer."""

import httpx
import pytest
from congrad import Client, UnprocessableError
from congrad.contract import wire
from congrad.integrations.trl import filter_rows
from support.stub_service import StubService, problem


def test_an_error_about_samples_names_the_rows_that_they_are() -> None:
    rows = [
        {"language": "de", "response_a": "a", "response_b": "b", "winner": w} for w in ("tie", "a", "tie", "a", "a")
    ]
    fault = wire.ProblemError(pointer="/samples/1", detail="is wrong")
    stub = StubService(before=lambda _: problem(422, errors=[fault]))
    with (
        Client("http://stub", transport=httpx.MockTransport(stub)) as client,
        pytest.raises(UnprocessableError) as caught,
    ):
        filter_rows(rows, client)
    assert caught.value.samples == [3]
    assert list(caught.value.undecided) == [1, 3, 4]
    assert list(caught.value.decisions) == [None] * 5
