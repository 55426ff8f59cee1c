"""Tables in the terminal and in Markdown, and how a page begins."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.pages import table as markdown
from benchmarks.planted.tables import Table


def show(console: Console, title: str, tables: Sequence[Table]) -> None:
    """Prints tables under a title."""
    console.rule(title)
    for table in tables:
        rich = RichTable(title=table.title)
        for i, column in enumerate(table.columns):
            rich.add_column(column, justify="right" if i else "left", no_wrap=i == 0)
        for row in table.rows:
            rich.add_row(*row)
        console.print(rich)


def heading(title: str, about: Mapping[str, Any], introduction: Sequence[str]) -> list[str]:
    """The lines that a page begins with: what it is, what it depends on, and what was done."""
    lines = [f"# {title}", "", *(f"- {key}: {value}" for key, value in about.items())]
    return lines + [line for paragraph in introduction for line in ("", paragraph)]


def section(table: Table, title: str, level: int) -> list[str]:
    """The lines of one table."""
    return ["", f"{'#' * level} {title}", "", *markdown(table.columns, table.rows)]
