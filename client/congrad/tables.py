"""Results as tables for a terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from congrad import wire

TEXT_WIDTH = 60


def summary_table(decisions: Sequence[wire.Decision]) -> Table:
    """Kept, dropped and mean conflict by language, and over all."""
    table = Table(title="By language")
    table.add_column("language")
    for name in ("kept", "dropped", "mean conflict"):
        table.add_column(name, justify="right")
    for tag in sorted({decision.language for decision in decisions}):
        _add_row(table, tag, [decision for decision in decisions if decision.language == tag])
    table.add_section()
    _add_row(table, "all", decisions)
    return table


def _add_row(table: Table, name: str, decisions: Sequence[wire.Decision]) -> None:
    kept = sum(decision.keep for decision in decisions)
    scores = [decision.conflict_score for decision in decisions if decision.conflict_score is not None]
    mean = f"{sum(scores) / len(scores):+.3f}" if scores else "-"
    table.add_row(name, str(kept), str(len(decisions) - kept), mean)


def worst_table(decisions: Sequence[wire.Decision], texts: dict[str, tuple[str, str, str]], count: int) -> Table:
    """The pairs with the highest conflict scores, with their texts.

    :param texts: prompt, chosen and rejected by id.
    """
    scored = [(decision.conflict_score, decision) for decision in decisions if decision.conflict_score is not None]
    table = Table(title="Worst conflicts", show_lines=True)
    table.add_column("pair")
    table.add_column("conflict", justify="right")
    table.add_column("conflicts with", max_width=16)
    table.add_column("prompt, chosen, rejected")
    for conflict, decision in sorted(scored, key=lambda item: -item[0])[:count]:
        lines = "\n".join(_cut(text) for text in texts[decision.id])
        table.add_row(decision.id, f"{conflict:+.3f}", " ".join(decision.conflicts_with), Text(lines))
    return table


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_WIDTH else line[: TEXT_WIDTH - 1] + "…"
