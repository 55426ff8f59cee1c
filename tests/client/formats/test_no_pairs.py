"""Rows that hold no pair."""

from typing import Any

import pytest
from congrad.formats import UnknownFormatError, recognised

MESSAGE = {"message_id": "2", "parent_id": "1", "text": "Sim.", "role": "assistant", "lang": "pt-BR", "rank": 0}
TREE = {"message_tree_id": "1", "prompt": {"message_id": "1", "text": "?", "role": "prompter", "replies": []}}
OF_FOUR = {"first_turn_prompt": "?", **{f"first_turn_response_{letter}": letter for letter in "abcd"},
           "first_turn_preferred_response": "response_b", "assigned_lang": "pt"}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (MESSAGE, "its rows are single messages of conversations; a pair is two answers to the same message"),
        (TREE, "its rows are trees of messages; a pair is two answers to the same message"),
        (OF_FOUR, "its rows have 4 answers, first_turn_response_a to first_turn_response_d, and a pair has two"),
    ],
)
def test_of_rows_without_a_pair_it_is_said_what_they_are(row: dict[str, Any], message: str) -> None:
    """That one of their columns should be named as chosen would lead nowhere, or to wrong pairs."""
    with pytest.raises(UnknownFormatError, match=f"{message}: write each pair as a row of its own") as caught:
        recognised([row])
    assert "--field" not in str(caught.value)


@pytest.mark.parametrize("names", [("x_a", "x_b"), ("x_a", "x_c", "x_d"), ("x_b", "x_c", "x_d")])
def test_other_columns_with_letters_are_no_answers(names: tuple[str, ...]) -> None:
    with pytest.raises(UnknownFormatError, match="Say with --field which is which"):
        recognised([dict.fromkeys(names, "a")])
