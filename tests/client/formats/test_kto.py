"""Completions that are wanted or not, as other tools than TRL have them."""

from typing import Any

import pytest
from congrad.formats import UnknownFormatError, VerdictError, recognised

Q, GOOD = "Que horas são?", "São três horas."
ASKED, ANSWERED = {"role": "user", "content": Q}, {"role": "assistant", "content": GOOD}
BRIEF = {"role": "system", "content": "Seja breve."}
EARLIER = [{"role": "user", "content": "Olá"}, {"role": "assistant", "content": "Olá!"}]
SHARE_GPT = [{"from": "human", "value": Q}, {"from": "gpt", "value": GOOD}]

ROWS: dict[str, tuple[dict[str, Any], list[dict[str, str]]]] = {
    "LLaMA-Factory's demo and ms-swift": ({"messages": [ASKED, ANSWERED], "label": False}, [ASKED]),
    "LLaMA-Factory's conversations": (
        {"conversations": SHARE_GPT, "kto_tag": False, "system": "Seja breve."},
        [BRIEF, ASKED],
    ),
    "LLaMA-Factory's Alpaca columns": (
        {"instruction": "Que horas", "input": "são?", "history": [["Olá", "Olá!"]], "output": GOOD, "kto_tag": False},
        [*EARLIER, {"role": "user", "content": "Que horas\nsão?"}],
    ),
    "argilla/kto-mix-15k": (
        {"completion": [*EARLIER, ASKED, ANSWERED], "label": False, "rating": 1.0},
        [*EARLIER, ASKED],
    ),
    "Axolotl's chatml.intel": (
        {"system": "Seja breve.", "question": Q, "completion": GOOD, "label": False},
        [BRIEF, ASKED],
    ),
    "Axolotl's chatml.argilla": ({"instruction": Q, "completion": GOOD, "label": False}, [ASKED]),
    "a cell of CSV": ({"instruction": Q, "output": GOOD, "kto_tag": "False"}, [ASKED]),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_recognised_and_read(name: str) -> None:
    row, prompt = ROWS[name]
    found = recognised([row])
    assert found.told.startswith(
        "read as unpaired completions (KTO) in conversations or with a question (--format kto)"
    )
    assert found.fields.read(row) == {"prompt": prompt, "completion": [ANSWERED], "label": False}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, ANSWERED], "label": 1},
        {"messages": [ASKED, ANSWERED], "label": None},
        {"instruction": Q, "output": GOOD, "label": True},
        {"completion": GOOD, "label": True},
    ],
)
def test_what_may_be_of_another_use_is_not_taken_for_a_label(row: dict[str, Any]) -> None:
    with pytest.raises(UnknownFormatError):
        recognised([row])


def test_a_label_of_two_answers_stays_their_verdict() -> None:
    row = {"messages": [ASKED], "response_a": GOOD, "response_b": "Não sei.", "label": True}
    with pytest.raises(VerdictError, match="nothing but true or false"):
        recognised([row])


@pytest.mark.parametrize("turns", [[ASKED], [ASKED, ANSWERED, ASKED], [ANSWERED]])
def test_a_conversation_that_does_not_end_with_an_answer_is_none(turns: list[dict[str, str]]) -> None:
    with pytest.raises(ValueError, match="should have a prompt, and end with the answer that is judged"):
        recognised([{"messages": turns, "label": True}]).fields.read({"messages": turns, "label": True})


def test_a_row_without_a_label_is_named() -> None:
    row = {"messages": [ASKED, ANSWERED], "label": True}
    with pytest.raises(ValueError, match="has no label or kto_tag that is true or false"):
        recognised([row]).fields.read(row | {"label": None})
