"""TRL's formats: preference pairs, standard or conversational, with an explicit or an implicit prompt, and prompts with
one completion, which are unpaired where they have a label."""

from collections.abc import Mapping, Sequence
from typing import Any

from congrad.contract.samples import COLUMNS, CONVERSATION, IMAGE_COLUMNS, LABEL, PAIR, without_others
from congrad.formats.messages import are_turns, message
from congrad.formats.row_format import Roles, Row, RowFormat, Sample

FIELDS = tuple(name for name in COLUMNS if name not in ("id", "language"))
"""TRL's columns, images and whole conversations among them so that they are refused."""

REFUSED = (*IMAGE_COLUMNS, CONVERSATION)


WITH_NULLS = ("tool_calls", "tools", "chat_template_kwargs")
"""What TRL hands to a chat template as it is, nulls included: arguments that differ from call to call are such nulls
once a data set has been in Arrow."""


def without_nulls(value: Any) -> Any:
    """The value without keys that hold null, at any depth but in what a template is given with them: Arrow gives each
    row all keys that any row has, and transformers takes those of a message that are null for missing."""
    if isinstance(value, Mapping):
        return {
            key: item if key in WITH_NULLS else without_nulls(item) for key, item in value.items() if item is not None
        }
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def read(row: Row, roles: Roles) -> Sample:
    """The fields as TRL reads them. A null is a missing value: Arrow has no other form for one. Images are taken too,
    so that they are refused; where there are none there may be an empty list, which TRL takes for a text."""
    given = {
        name: row[name] for name in FIELDS if row.get(name) is not None and not (name in REFUSED and not row[name])
    }
    sample: Sample = without_others(without_nulls(given))
    return {name: _renamed(value, roles) for name, value in sample.items()} if roles else sample


def _renamed(value: Any, roles: Roles) -> Any:
    return [message(turn, roles) for turn in value] if are_turns(value) else value


def _fits(row: Row) -> bool:
    return all(name in row for name in PAIR) or ("prompt" in row and "completion" in row)


def _told(rows: Sequence[Row]) -> str:
    """The kinds of TRL's dataset formats that rows are of."""
    kinds = dict.fromkeys(_kind(row) for row in rows if _fits(row))
    return "TRL's " + " and ".join(kinds) if kinds else TRL.title


def _kind(row: Row) -> str:
    if row.get("chosen") is None and row.get("completion") is not None:
        kind = "unpaired completions (KTO)" if isinstance(row.get(LABEL), bool) else "prompts with a completion"
        return f"{_form(row['completion'])} {kind}"
    prompt = "explicit" if row.get("prompt") is not None else "implicit"
    return f"{_form(row.get('chosen'))} preference pairs with an {prompt} prompt"


def _form(answer: Any) -> str:
    return "conversational" if isinstance(answer, list) else "standard"


TRL = RowFormat(
    name="trl",
    title="TRL's preference pairs or prompts with a completion",
    columns=FIELDS,
    shape="chosen, rejected and, unless they share it, prompt; or prompt, completion",
    fits=_fits,
    read=read,
    told=_told,
)
