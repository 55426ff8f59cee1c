"""Axolotl: what its DPO strategies with a chat template make of a row, as a sample. Checked against Axolotl 0.21."""

from collections.abc import Mapping, Sequence
from typing import Any

Turn = dict[str, Any]

PROPERTIES = {"role": "role", "content": "content"}


def to_sample(
    row: Mapping[str, Any],
    *,
    field_messages: str = "messages",
    field_chosen: str = "chosen",
    field_rejected: str = "rejected",
    message_property_mappings: Mapping[str, str] = PROPERTIES,
    roles: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The fields of a sample in a row of Axolotl's, but for its language.

    The options are those of a dataset in Axolotl's configuration. A row with messages is read as
    ``chat_template.default`` reads it: ``chosen`` and ``rejected`` are one turn, a list whose last turn counts, or a
    string. A row without is read as by ``chat_template.argilla_chat``: ``chosen`` and ``rejected`` are whole
    conversations, and the prompt is all of ``chosen`` but its last turn. A role that ``roles`` does not list stays.

    :raises KeyError: the row has no such field.
    """
    role_of = {source: target for target, sources in (roles or {}).items() for source in sources}

    def turn(message: Mapping[str, Any]) -> Turn:
        role = message[message_property_mappings["role"]]
        own = {name: message[source] for name, source in message_property_mappings.items() if source in message}
        return {**own, "role": role_of.get(role, role)}

    def turns(value: Any, role: str) -> list[Turn]:
        if isinstance(value, str):
            return [{"role": role, "content": value}]
        return [turn(message) for message in ([value] if isinstance(value, Mapping) else value)]

    chosen, rejected = turns(row[field_chosen], "assistant"), turns(row[field_rejected], "assistant")
    is_conversation = row.get(field_messages) is None and len(chosen) > 1
    prompt = chosen[:-1] if is_conversation else turns(row[field_messages], "user")
    return {"prompt": prompt, "chosen": chosen[-1:], "rejected": rejected[-1:]}
