"""Files that are compressed, by their first bytes: a pipe has no suffix, and downloads often lose theirs."""

import re

LONGEST = 16
"""Bytes that are looked at."""

COMPRESSIONS = {
    ".gz": re.compile(rb"\x1f\x8b"),
    # A text may begin with BZh, but not with what follows it there: the digits of pi, or of its root where it is empty.
    ".bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    ".xz": re.compile(rb"\xfd7zXZ\x00"),
    ".zst": re.compile(rb"\x28\xb5\x2f\xfd"),
}


def compression_in(start: bytes) -> str | None:
    """The suffix of the compression that a file is of."""
    return next((suffix for suffix, signature in COMPRESSIONS.items() if signature.match(start)), None)
