"""The formats of files, by their suffixes."""

from enum import StrEnum
from pathlib import Path

from congrad.files.opening.compression import bare


class Format(StrEnum):
    """How rows are written down."""

    JSONL = "jsonl"
    """A JSON object on each line."""
    JSON = "json"
    """A JSON list of objects."""
    CSV = "csv"
    """Commas, semicolons or the like, quotes, and a header."""
    TSV = "tsv"
    """The same with tabs."""
    PARQUET = "parquet"
    """Columns; needs pyarrow."""


SUFFIXES = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
}

ARROW = (".arrow", ".feather")
"""Suffixes of what is not read, and often meant: `datasets` keeps its own files so."""

IS_ARROW = "is Arrow, which is not read; make Parquet of it, with to_parquet of the dataset or table"

OTHERS = {
    b"PAR1": f"is Parquet, and its name does not say so: read as .parquet or with --input-format {Format.PARQUET}",
    b"ARROW1": IS_ARROW,
    b"\xff\xff\xff\xff": IS_ARROW,
    b"PK\x03\x04": "is a zip archive or a spreadsheet, which is not read; unpack it, or save it as CSV in UTF-8",
}
"""What holds no text, by its first bytes."""

STANDARD_STREAM = "-"
"""In place of a path: standard input or output."""


def unknown(path: str) -> str:
    """What to say of a file whose suffix says nothing."""
    if Path(path).suffix.lower() in ARROW:
        return f"{path}: {IS_ARROW}"
    return f"{path}: its suffix is none of {', '.join(SUFFIXES)}; say what it is with --input-format"


def format_of(path: str) -> Format | None:
    """What the suffix says, or the one before that of a compression; None where it says nothing. Standard input and
    output are JSON Lines."""
    return Format.JSONL if path == STANDARD_STREAM else SUFFIXES.get(Path(bare(path)).suffix.lower())


def no_text(start: bytes) -> str | None:
    """What a file is that holds no text, by its first bytes, and what to do about it."""
    return next((told for signature, told in OTHERS.items() if start.startswith(signature)), None)
