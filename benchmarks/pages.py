"""The two files of a report: a page with tables in Markdown, and the figures as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: names in its first column, figures in the others."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def as_json(figures: dict[str, Any]) -> str:
    """Figures to five decimals: more is noise, and most of the file."""
    return json.dumps(_rounded(figures)) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(of) for key, of in value.items()}
    if isinstance(value, list):
        return [_rounded(of) for of in value]
    return round(value, 5) if isinstance(value, float) else value


def write(folder: Path, name: str, markdown: str, data: str) -> list[Path]:
    """Writes ``name``.md and ``name``.json."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json", folder / f"{name}.md"]
    for path, text in zip(paths, (data, markdown), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
