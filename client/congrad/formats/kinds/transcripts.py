"""Transcripts as those of Anthropic's HH: ``Human:`` and ``Assistant:`` in one text, both alike up to the answers."""

from congrad.formats.kinds.trl import TRL, read
from congrad.formats.row_format import Row, RowFormat

TURN = "\n\nAssistant:"


def _fits(row: Row) -> bool:
    answers = [row.get("chosen"), row.get("rejected")]
    return row.get("prompt") is None and all(
        isinstance(answer, str) and answer.lstrip().startswith("Human:") and TURN in answer for answer in answers
    )


HH = RowFormat(
    name="hh",
    title="transcripts of Human and Assistant, whose common beginning is the prompt",
    columns=TRL.columns,
    shape="chosen, rejected, each a text of Human: and Assistant:",
    fits=_fits,
    read=read,
)
