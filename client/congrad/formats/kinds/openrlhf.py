"""OpenRLHF's format without a prompt of its own: messages up to the last turn, and texts that have none."""

from congrad.formats.messages import are_turns, messages
from congrad.formats.row_format import Roles, Row, RowFormat, Sample


def _read(row: Row, roles: Roles) -> Sample:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not are_turns(chosen) or not are_turns(rejected):
        return {"prompt": row.get("prompt", ""), "chosen": chosen, "rejected": rejected}
    if row.get("prompt") is not None:
        return {name: messages(row[name], roles, "user") for name in ("prompt", "chosen", "rejected")}
    own, other = messages(chosen, roles), messages(rejected, roles)
    turns = len(own) - 1
    if own[:turns] != other[:turns]:
        raise ValueError(f"rejected does not begin with the {turns} turns of the prompt in chosen")
    return {"prompt": own[:turns], "chosen": own[turns:], "rejected": other[turns:]}


OPENRLHF = RowFormat(
    name="openrlhf",
    title="OpenRLHF's format, in which texts share no prompt",
    columns=("prompt", "chosen", "rejected"),
    shape="chosen, rejected; never recognised, as TRL reads texts that begin alike in another way",
    fits=lambda row: "chosen" in row and "rejected" in row,
    read=_read,
)
