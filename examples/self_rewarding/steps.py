"""Steps that are done once: what a step makes is a file, and where the file is, the step is not done again.

The files of a round are its whole state. Each appears under its name when it is complete, so a run that is killed goes
on with the step that it was at.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file or a folder; it becomes ``path`` if the block ends without an error."""
    partial = path.with_name(f"{path.name}.partial")
    if partial.is_dir():
        shutil.rmtree(partial)
    yield partial
    partial.rename(path)


def once(path: Path, kind: type[T], make: Callable[[], T]) -> T:
    """What ``make`` returned when it was called first, by this run or an earlier one. As JSON in ``path``."""
    adapter = TypeAdapter(kind)
    if not path.exists():
        made = make()
        with whole(path) as partial:
            partial.write_bytes(adapter.dump_json(made, indent=1))
    return adapter.validate_json(path.read_bytes())
