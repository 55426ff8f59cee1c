"""OpenAI's preference format, for its direct preference optimization."""

from collections.abc import Mapping

from congrad.formats.messages import are_turns, messages
from congrad.formats.row_format import Roles, Row, RowFormat, Sample


def _fits(row: Row) -> bool:
    given = row.get("input")
    has_turns = isinstance(given, Mapping) and are_turns(given.get("messages"))
    return has_turns and "preferred_output" in row and "non_preferred_output" in row


def _read(row: Row, roles: Roles) -> Sample:
    given = row["input"]
    sample = {"prompt": messages(given["messages"], roles)}
    for name, column in (("chosen", "preferred_output"), ("rejected", "non_preferred_output")):
        if row.get(column) is not None:
            sample[name] = messages(row[column], roles)
    return sample | ({"tools": given["tools"]} if given.get("tools") else {})


OPENAI = RowFormat(
    name="openai",
    title="OpenAI's preference format",
    columns=("input", "preferred_output", "non_preferred_output"),
    shape="input.messages, preferred_output, non_preferred_output",
    fits=_fits,
    read=_read,
)
