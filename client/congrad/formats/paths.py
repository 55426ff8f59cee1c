"""Values of a row by their column, or by a path of names and positions: ``input.messages``, ``choices.0.text``."""

from collections.abc import Mapping
from typing import Any


def value_at(row: Any, path: str) -> Any:
    """What lies there; None where nothing does. A column whose name has a dot goes before a path."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    name, dot, rest = path.partition(".")
    found = row.get(name) if isinstance(row, Mapping) else _item(row, name)
    return value_at(found, rest) if dot and found is not None else found


def is_at(row: Any, path: str) -> bool:
    """Whether anything lies there, if only a null."""
    if isinstance(row, Mapping) and path in row:
        return True
    name, dot, rest = path.partition(".")
    found = row.get(name) if isinstance(row, Mapping) else _item(row, name)
    return found is not None and (not dot or is_at(found, rest))


def column_of(path: str, columns: Mapping[str, Any] | frozenset[str] = frozenset()) -> str:
    """The column that a path begins with."""
    return path if path in columns else path.partition(".")[0]


def _item(items: Any, position: str) -> Any:
    if not isinstance(items, list | tuple) or not position.lstrip("-").isdecimal():
        return None
    index = int(position)
    return items[index] if -len(items) <= index < len(items) else None
