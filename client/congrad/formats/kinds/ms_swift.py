"""ms-swift's preference format."""

from typing import Any

from congrad.formats.messages import USER, are_turns, exchanges, messages, with_system
from congrad.formats.row_format import Roles, Row, RowFormat, Sample

COLUMNS = (
    "messages",
    "rejected_response",
    "rejected_messages",
    "query",
    "response",
    "history",
    "system",
    "tools",
    "images",
)


def _fits(row: Row) -> bool:
    has_answers = are_turns(row.get("messages")) or isinstance(row.get("response"), str)
    return has_answers and ("rejected_response" in row or "rejected_messages" in row)


def _read(row: Row, roles: Roles) -> Sample:
    turns = messages(row["messages"], roles) if row.get("messages") else _from_query(row)
    conversation = with_system(row.get("system"), turns)
    others = {name: row[name] for name in ("tools", "images") if row.get(name)}
    if row.get("rejected_messages") is not None:
        rejected = with_system(row.get("system"), messages(row["rejected_messages"], roles))
        return {"chosen": conversation, "rejected": rejected, **others}
    sample: Sample = {"prompt": conversation[:-1], "chosen": conversation[-1:], **others}
    other = row.get("rejected_response")
    return sample if other is None else sample | {"rejected": messages(other, roles)}


def _from_query(row: Row) -> list[dict[str, Any]]:
    """The older form: a query and its response, behind a history of such."""
    turns = [*exchanges(row.get("history")), [row.get("query", ""), row["response"]]]
    return [turn for query, response in turns for turn in (*messages(query, {}, USER), *messages(response, {}))]


MS_SWIFT = RowFormat(
    name="ms-swift",
    title="ms-swift's preference format",
    columns=COLUMNS,
    shape="messages and rejected_response or rejected_messages",
    fits=_fits,
    read=_read,
)
