"""What a file is by its first bytes: what comes through a pipe has no suffix, and a download often has lost it."""

import re

from congrad.files.formats import IS_ARROW, Format

LONGEST = 16
"""Bytes that are looked at."""

COMPRESSIONS = {
    ".gz": re.compile(rb"\x1f\x8b"),
    # A text may begin with BZh, but not with what follows it there: the digits of pi, or of its root where it is empty.
    ".bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    ".xz": re.compile(rb"\xfd7zXZ\x00"),
    ".zst": re.compile(rb"\x28\xb5\x2f\xfd"),
}

OTHERS = {
    b"PAR1": f"is Parquet, and its name does not say so: read as .parquet or with --input-format {Format.PARQUET}",
    b"ARROW1": IS_ARROW,
    b"\xff\xff\xff\xff": IS_ARROW,
    b"PK\x03\x04": "is a zip archive or a spreadsheet, which is not read; unpack it, or save it as CSV in UTF-8",
}


def compression_in(start: bytes) -> str | None:
    """The suffix of the compression that a file is of."""
    return next((suffix for suffix, signature in COMPRESSIONS.items() if signature.match(start)), None)


def no_text(start: bytes) -> str | None:
    """What a file is that holds no text, and what to do about it."""
    return next((told for signature, told in OTHERS.items() if start.startswith(signature)), None)
