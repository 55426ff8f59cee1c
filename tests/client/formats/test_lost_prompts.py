"""Prompts that would be lost without a word."""

from typing import Any

import pytest
from congrad.formats import Fields
from congrad.formats.lost_prompts import PromptWatch, is_blank


def fault_of(*rows: dict[str, Any]) -> str | None:
    fields = Fields()
    watch = PromptWatch(fields.used)
    for row in rows:
        watch.add(row, fields.read(row))
    return watch.fault


LOST = {"query": "Wie spät ist es?", "chosen": "Es ist drei Uhr.", "rejected": "Keine Ahnung."}


def test_a_column_that_looks_like_the_prompt_is_named() -> None:
    message = fault_of(LOST, LOST)
    assert message is not None
    assert "a column 'query' that is not read: give --field prompt=query" in message


@pytest.mark.parametrize("column", ["raw_prompt", "full_prompt"])
def test_so_is_one_that_a_data_set_has_for_its_prompts(column: str) -> None:
    message = fault_of({column: "Wie spät ist es?", "chosen": "Es ist drei Uhr.", "rejected": "Keine Ahnung."})
    assert message is not None
    assert f"give --field prompt={column}" in message


@pytest.mark.parametrize(
    "row",
    [
        LOST | {"prompt": "Wie spät ist es?"},
        {"chosen": LOST["chosen"], "rejected": LOST["rejected"]},
        LOST | {"chosen": LOST["query"] + " Drei Uhr.", "rejected": LOST["query"] + " Keine Ahnung."},
    ],
)
def test_nothing_is_lost_where_there_is_a_prompt_or_nothing_like_one(row: dict[str, Any]) -> None:
    assert fault_of(row, LOST if "prompt" in row else row) is None


@pytest.mark.parametrize("prompt", [None, "", " \n", [], [{"role": "user", "content": " "}],
                                    [{"role": "system", "content": "a"}, {"role": "user", "content": ""}],
                                    [{"role": "user"}]])  # fmt: skip
def test_a_prompt_that_says_nothing_is_blank(prompt: Any) -> None:
    assert is_blank(prompt)


@pytest.mark.parametrize("prompt", ["a", [{"role": "user", "content": "a"}], [{"role": "system", "content": "a"}], 0,
                                    [{"role": "user", "content": [{"type": "text", "text": "a"}]}], ["a"],
                                    [{"role": "assistant", "tool_calls": [{}]}]])  # fmt: skip
def test_a_prompt_that_says_anything_is_not(prompt: Any) -> None:
    assert not is_blank(prompt)
