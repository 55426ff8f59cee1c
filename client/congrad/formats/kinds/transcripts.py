"""Transcripts as those of Anthropic's HH: ``Human:`` and ``Assistant:`` in one text, both alike up to the answers."""

from typing import Any

from congrad.formats.kinds.trl import TRL, read
from congrad.formats.row_format import Row, RowFormat

TURN = "\n\nAssistant:"


def is_transcript(text: Any) -> bool:
    """Whether a text is in such turns."""
    return isinstance(text, str) and text.lstrip().startswith("Human:") and TURN in text


def _fits(row: Row) -> bool:
    return row.get("prompt") is None and is_transcript(row.get("chosen")) and is_transcript(row.get("rejected"))


HH = RowFormat(
    name="hh",
    title="transcripts of Human and Assistant, whose common beginning is the prompt",
    columns=TRL.columns,
    shape="chosen, rejected, each a text of Human: and Assistant:",
    fits=_fits,
    read=read,
)
