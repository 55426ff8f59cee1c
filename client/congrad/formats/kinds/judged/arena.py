"""Chatbot Arena's pairs as Kaggle has them: the turns of each side in a list of its own, a column for each verdict."""

from typing import Any

from congrad.formats.kinds.judged.compared import COMPARED
from congrad.formats.kinds.judged.generations import listed
from congrad.formats.messages import ASSISTANT, USER
from congrad.formats.row_format import Roles, Row, RowFormat, Sample
from congrad.formats.verdict import number_of

PROMPT, ANSWERS = "prompt", ("response_a", "response_b")
VERDICTS = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie"}
"""Columns that are 1 where it is so, and what the usual column would hold."""


def _fits(row: Row) -> bool:
    has_verdict = all(row.get(name) is not None for name in list(VERDICTS)[:2])  # there may be no ties
    return has_verdict and all(row.get(name) for name in (PROMPT, *ANSWERS))


def _read(row: Row, roles: Roles) -> Sample:
    """
    :raises TieError: neither answer is preferred.
    :raises ValueError: nothing says which is, or a turn is missing.
    """
    winners = [winner for column, winner in VERDICTS.items() if number_of(row.get(column)) == 1]
    if len(winners) != 1:
        raise ValueError(f"not one of {', '.join(VERDICTS)} is 1")
    asked = listed(row[PROMPT])
    if not asked:
        return COMPARED.read({name: row[name] for name in (PROMPT, *ANSWERS)} | {"winner": winners[0]}, roles)
    first, second = (_conversation(asked, listed(row[name]), name) for name in ANSWERS)
    return COMPARED.read({"conversation_a": first, "conversation_b": second, "winner": winners[0]}, roles)


def _conversation(asked: list[Any], answered: list[Any], name: str) -> list[dict[str, str]]:
    if len(asked) != len(answered) or not all(isinstance(text, str) for text in (*asked, *answered)):
        raise ValueError(f"{name} has not a text for each of the {len(asked)} turns of {PROMPT}")
    turns = zip(asked, answered, strict=True)
    return [
        turn for ask, say in turns for turn in ({"role": USER, "content": ask}, {"role": ASSISTANT, "content": say})
    ]


ARENA = RowFormat(
    name="arena",
    title="Chatbot Arena's conversations in lists, the better one by winner_model_a and winner_model_b",
    columns=(PROMPT, *ANSWERS, *VERDICTS),
    shape=", ".join((PROMPT, *ANSWERS, *VERDICTS)),
    fits=_fits,
    read=_read,
)
