"""Rows that hold no pair, as some public data sets have them: what they are, and what to do."""

from collections.abc import Sequence

LETTERS = "abcdefghij"

DO = "write each pair as a row of its own, with prompt, chosen and rejected"


def no_pair(fields: Sequence[str]) -> str | None:
    """What to say of rows with these fields; None where nothing tells."""
    names = set(fields)
    if {"parent_id", "role", "text"} <= names:
        return f"its rows are single messages of conversations; a pair is two answers to the same message: {DO}"
    if {"message_tree_id", "prompt"} <= names:
        return f"its rows are trees of messages; a pair is two answers to the same message: {DO}"
    several = next(filter(None, (_several(name, names) for name in fields)), None)
    if several is None:
        return None
    return f"its rows have {len(several)} answers, {several[0]} to {several[-1]}, and a pair has two: {DO}"


def _several(name: str, names: set[str]) -> list[str] | None:
    """Columns that differ in a last letter, where there are more than two."""
    if not name.endswith("_a"):
        return None
    columns = [f"{name[:-1]}{letter}" for letter in LETTERS]
    found = [column for column in columns if column in names]
    return found if len(found) > 2 and found == columns[: len(found)] else None
