"""Formats of rows: which tools' files and data sets are read without renaming, and as what.

found = congrad.formats.recognised(rows)     # of the first rows: TRL's, OpenAI's, ms-swift's, ...
print(found.told)
samples = [found.fields.read(row) for row in rows]
"""

from congrad.formats.fields import Fields
from congrad.formats.recognition import Recognised, recognised
from congrad.formats.registry import AUTO, FORMATS, UnknownFormatError, named
from congrad.formats.row_format import RowFormat
from congrad.formats.verdict import Verdict, VerdictError

__all__ = [
    "AUTO",
    "FORMATS",
    "Fields",
    "Recognised",
    "RowFormat",
    "UnknownFormatError",
    "Verdict",
    "VerdictError",
    "named",
    "recognised",
]
