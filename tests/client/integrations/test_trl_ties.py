"""Rows that prefer neither answer."""

from typing import Any

import httpx
import pytest
from congrad import Client, InvalidSampleError, UnprocessableError
from congrad.contract import wire
from congrad.integrations.trl import filter_dataset, filter_rows
from datasets import Dataset
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


def streamed(rows: list[dict[str, Any]], client: Client) -> list[Any]:
    return list(filter_dataset(Dataset.from_list(rows).to_iterable_dataset(), client))


def whole(rows: list[dict[str, Any]], client: Client) -> Dataset:
    return filter_dataset(Dataset.from_list(rows), client)


@pytest.mark.parametrize("filtered", [filter_rows, whole, streamed])
def test_a_row_that_cannot_be_sent_is_named_as_the_row_that_it_is(filtered: Any) -> None:
    pair = {"language": "de", "prompt": 1.0, "response_a": "a", "response_b": "b"}
    rows = [pair | {"winner": w} for w in ("tie", "a", "tie", "a", "a")]
    rows[3]["prompt"] = float("nan")
    with (
        Client("http://stub", transport=httpx.MockTransport(StubService())) as client,
        pytest.raises(InvalidSampleError, match="sample 3 cannot be sent: prompt: Out of range") as caught,
    ):
        filtered(rows, client)
    assert caught.value.position == 3
