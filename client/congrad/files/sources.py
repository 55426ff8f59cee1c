"""Several files as one: those that are named, those in a folder, and those that match a pattern."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from congrad.files.formats import ARROW, STANDARD_STREAM, Format, format_of, unknown
from congrad.files.kinds.rows import FileError, Row
from congrad.files.opening.remote import files_at, is_remote
from congrad.files.source import Source

LONGEST_NAME = 100

ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files of a folder that say something about the others."""


def files_of(paths: Sequence[str], as_format: Format | None = None) -> list[str]:
    """The files that paths, folders and patterns stand for, in order.

    :raises FileError: there are none, or a folder has files of several kinds.
    """
    found = [name for path in paths for name in _files_of(path, as_format)]
    if STANDARD_STREAM in found and len(found) > 1:
        raise FileError("standard input is read alone, and not beside other files")
    files: dict[str, str] = {}
    # Each once, however its path is written: shards/a.jsonl may be named beside ./shards. Links are files of their own:
    # the hub's cache has one for each name, and of equal contents they lead to the same place.
    for name in found:
        files.setdefault(name if is_remote(name) else str(Path(name).absolute()), name)
    return list(files.values())


def stands_for(given: str, path: str) -> bool:
    """Whether a folder or a pattern stands for the file at a path, or would if it were there."""
    if STANDARD_STREAM in (given, path) or is_remote(given) or is_remote(path) or not _may_hold_rows(path, None):
        return False
    # A link is read as what it is called, whatever it leads to.
    file, place = Path(path).parent.resolve() / Path(path).name, Path(given).resolve()
    if place.is_dir():
        return file.is_relative_to(place) and not _is_hidden(file, str(place))
    return not place.exists() and glob.has_magic(given) and file.match(str(place))


def opened(paths: Sequence[str], as_format: Format | None, fields: Mapping[str, str]) -> Source:
    """One file, or several as one.

    :param paths: of files, from `files_of`.
    :raises FileError: one cannot be read, or they are of different kinds.
    """
    return Source(paths[0], as_format, fields) if len(paths) == 1 else Sources(paths, as_format, fields)


class Sources(Source):
    """Rows of several files of one kind, one file after the other. The id of a row has the name of its file."""

    def __init__(self, paths: Sequence[str], as_format: Format | None = None, fields: Mapping[str, str] | None = None):
        self._stack = ExitStack()
        self._parts = [self._stack.enter_context(Source(path, as_format, fields)) for path in paths]
        self.paths = list(paths)
        self._names = _short(paths)
        first = self._parts[0]
        self.name = f"{first.name} and {len(paths) - 1} more"
        self.format, self.by_suffix, self.delimiter = first.format, first.by_suffix, first.delimiter
        for part in self._parts:
            if part.format is not first.format:
                raise FileError(
                    f"{part.name}: is {part.format}, and {first.name} is {first.format}; files of one run are alike"
                )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def all_rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """The rows of all files."""
        for part, name in zip(self._parts, self._names, strict=True):
            for row in part.all_rows(columns):
                yield replace(row, id=f"{name}, {row.id}")

    def first(self, columns: Collection[str], count: int) -> list[Row]:
        """Some rows of the beginning of each file."""
        each = -(-count // len(self._parts))
        return [row for part in self._parts for row in islice(part.all_rows(columns), each)]

    def header(self) -> list[str]:
        """The columns that the files name before their rows."""
        return list(dict.fromkeys(column for part in self._parts for column in part.header()))

    def schema(self) -> Any:
        """The schema of Parquet files.

        :raises FileError: they have different ones.
        """
        schemas = [part.schema() for part in self._parts]
        for part, schema in zip(self._parts, schemas, strict=True):
            if not schema.equals(schemas[0]):
                raise FileError(
                    f"{part.name}: has other columns, or columns of other types, than {self._parts[0].name}, and "
                    "one Parquet file cannot hold the rows of both as they are: write JSON Lines, or filter each alone"
                )
        return schemas[0]


def _short(paths: Sequence[str]) -> list[str]:
    """What the ids of rows call the files: they are sent along, and have a bound."""
    names = [PurePath(path).name for path in paths]
    is_clear = len(set(names)) == len(names) and max(map(len, names)) <= LONGEST_NAME
    return names if is_clear else [f"file {number}" for number in range(1, len(names) + 1)]


def _files_of(path: str, as_format: Format | None) -> list[str]:
    if path == STANDARD_STREAM:
        return [path]
    if is_remote(path):
        found = files_at(path)
        return found if len(found) == 1 else _of_one_kind(path, found, as_format)
    if Path(path).is_dir():
        inside = sorted(str(file) for file in Path(path).rglob("*") if file.is_file() and not _is_hidden(file, path))
        return _of_one_kind(path, inside, as_format)
    if Path(path).exists() or not glob.has_magic(path):
        return [path]
    # Not `Path.glob`, which takes no absolute patterns.
    return _of_one_kind(path, sorted(glob.glob(path, recursive=True)), as_format)  # noqa: PTH207


def _is_hidden(file: Path, folder: str) -> bool:
    """Whether it lies in a hidden folder, such as .git or the .cache that a download leaves."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _of_one_kind(path: str, names: Sequence[str], as_format: Format | None) -> list[str]:
    """Those of the files that hold rows."""
    held = [name for name in names if _may_hold_rows(name, as_format)]
    visible = [name for name in names if _is_visible(name)]
    if not held and (arrow := [name for name in visible if Path(name).suffix.lower() in ARROW]):
        raise FileError(unknown(arrow[0]))
    if not held:
        raise FileError(f"{path}: holds no files of rows")
    kinds = sorted({str(format_of(name)) for name in held})
    if as_format is None and len(kinds) > 1:
        raise FileError(f"{path}: holds files of several kinds ({', '.join(kinds)}); name those that are meant")
    return held


def _may_hold_rows(name: str, as_format: Format | None) -> bool:
    return _is_visible(name) and Path(name).name not in ABOUT and (as_format or format_of(name)) is not None


def _is_visible(name: str) -> bool:
    return not Path(name).name.startswith((".", "_"))
