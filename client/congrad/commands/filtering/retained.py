"""A file that names the jobs whose gradients are kept: what `congrad rescore` reads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from congrad.files.formats import Format
from congrad.files.kinds.rows import FileError
from congrad.files.kinds.values import encode
from congrad.files.source import Source


@dataclass(frozen=True)
class Retained:
    """A job whose gradients are kept, and the names of the rows that are in it."""

    job: str
    rows: list[str]


_RETAINED: TypeAdapter[Retained] = TypeAdapter(Retained)


def write_retained(stream: BinaryIO, jobs: Sequence[Retained]) -> None:
    """A line for each job."""
    stream.writelines(encode(asdict(job)) + b"\n" for job in jobs)


def read_retained(path: str) -> list[Retained]:
    """The jobs of a file of `congrad filter --retain`.

    :raises FileError: it is none.
    """
    with Source(path, Format.JSONL) as rows:
        try:
            found = [_RETAINED.validate_python(row.content) for row in rows.rows()]
        except ValidationError as error:
            raise FileError(f"{path}: is not what `congrad filter --retain FILE` writes") from error
    if not found:
        raise FileError(f"{path}: names no jobs")
    return found
