"""Preference pairs in JSON Lines files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from congrad import wire
from congrad.errors import CongradError
from congrad.samples import IMAGE_COLUMNS, Sample

FIELDS = (*(name for name in Sample.model_fields if name != "id"), *IMAGE_COLUMNS)
"""What is taken of a row, images so that they are refused; whatever else stands in it stays here."""


class FileError(CongradError):
    """A file cannot be read, or a line of it is no preference pair."""


@dataclass(frozen=True)
class Row:
    """One line of a file: its number, counted from 1, and its content."""

    number: int
    line: str
    content: dict[str, Any]

    @property
    def id(self) -> str:
        """How the service's messages name the row; unlike an id in the file it cannot occur twice."""
        return f"line {self.number}"

    @property
    def sample(self) -> dict[str, Any]:
        """The fields that the service takes."""
        return {"id": self.id} | {name: self.content[name] for name in FIELDS if name in self.content}


def read_rows(path: Path) -> list[Row]:
    """All rows of a file; blank lines are passed over.

    :raises FileError: the file cannot be read, or a line is no preference pair; the message names line and field.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read: {error}") from error
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    return [_row(path, number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _row(path: Path, number: int, line: str) -> Row:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise FileError(f"{path}, line {number}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise FileError(f"{path}, line {number}: is not a JSON object")
    row = Row(number, line.rstrip("\r"), content)
    try:
        Sample.model_validate(row.sample)
    except ValidationError as error:
        fault = error.errors()[0]
        field = f"{fault['loc'][0]}: " if fault["loc"] else ""
        raise FileError(f"{path}, line {number}: {field}{fault['msg'].removeprefix('Value error, ')}") from error
    return row


def write_kept(path: Path, rows: Sequence[Row], decisions: Sequence[wire.Decision]) -> None:
    """Writes the kept rows, each as it was read."""
    lines = [row.line for row, decision in zip(rows, decisions, strict=True) if decision.keep]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def write_dropped(path: Path, rows: Sequence[Row], decisions: Sequence[wire.Decision]) -> None:
    """Writes the dropped rows, each with its decision under the key ``congrad``."""
    with path.open("w", encoding="utf-8") as file:
        for row, decision in zip(rows, decisions, strict=True):
            if not decision.keep:
                verdict = decision.model_dump(mode="json", exclude={"id", "language", "keep"})
                file.write(json.dumps(row.content | {"congrad": verdict}, ensure_ascii=False) + "\n")
