"""How a result shows itself in a notebook: a table by language with a small picture in each row.

Notebooks strip scripts, and often style sheets, so the picture is plain SVG and each style is in its element. Text has
the notebook's own colour; the two colours of the picture can be told apart on a light and on a dark page.
"""

import html
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from congrad.contract import wire
from congrad.contract.summary import summarise

BINS = 40
WIDTH, HEIGHT = 200, 22
"""Of a picture, in pixels."""

KEPT, DROPPED = "#4a7de0", "#d9642f"

_TEXT = "text-align:left"
_NUMBER = "text-align:right;font-variant-numeric:tabular-nums"


def as_html(decisions: Sequence[wire.Decision], direction: wire.DirectionRef | None) -> str:
    """A summary of decisions as a piece of HTML."""
    summary = summarise(decisions)
    limit = _limit(decisions)
    rows = "".join(
        _row(tag, language, [decision for decision in decisions if decision.language == tag], limit)
        for tag, language in summary.by_language.items()
    )
    return (
        f"<div><p>{_headline(summary, direction)}</p>"
        f"<table><thead><tr>{_head(limit)}</tr></thead><tbody>{rows}</tbody></table>{_notes(decisions)}</div>"
    )


def _headline(summary: wire.Summary, direction: wire.DirectionRef | None) -> str:
    total = summary.kept + summary.dropped
    share = f" ({100 * summary.kept / total:.0f} %)" if total else ""
    against = (
        ""
        if direction is None
        else f", scored against version {direction.version} of direction <i>{html.escape(direction.name)}</i> of "
        f"<i>{html.escape(direction.checkpoint)}</i>"
    )
    return f"<b>Kept {summary.kept:,} of {total:,} pairs</b>{share}{against}"


def _notes(decisions: Sequence[wire.Decision]) -> str:
    """What the table does not show."""
    without = sum(decision.conflict_score is None for decision in decisions)
    truncated = sum(decision.truncated for decision in decisions)
    repeated = sum(decision.repeated for decision in decisions)
    counts = {"without a score": without, "truncated": truncated, "repeated": repeated}
    notes = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f"<p>{', '.join(notes)}</p>" if notes else ""


def _head(limit: float) -> str:
    names = (_key(KEPT, "kept"), _key(DROPPED, "dropped"), "share kept", "mean conflict")
    numbers = "".join(f'<th scope="col" style="{_NUMBER}">{name}</th>' for name in names)
    scores = f"conflict score, −{limit:g} to {limit:g}"
    return f'<th scope="col" style="{_TEXT}">language</th>{numbers}<th scope="col" style="{_TEXT}">{scores}</th>'


def _key(colour: str, name: str) -> str:
    return f'<span style="color:{colour}">■</span> {name}'


def _row(tag: str, language: wire.LanguageSummary, own: Sequence[wire.Decision], limit: float) -> str:
    mean = "–" if language.mean_conflict is None else f"{language.mean_conflict:+.3f}".replace("-", "−")
    share = f"{100 * language.kept / len(own):.0f} %"
    numbers = "".join(
        f'<td style="{_NUMBER}">{cell}</td>' for cell in (f"{language.kept:,}", f"{language.dropped:,}", share, mean)
    )
    name = html.escape(tag)
    picture = _picture(own, limit, f"{name}: {language.kept:,} kept, {language.dropped:,} dropped")
    return f'<tr><th scope="row" style="{_TEXT}">{name}</th>{numbers}<td style="{_TEXT}">{picture}</td></tr>'


def _picture(decisions: Iterable[wire.Decision], limit: float, label: str) -> str:
    """A histogram of scores: the kept ones below, the dropped ones stacked on them."""
    kept, dropped = [0] * BINS, [0] * BINS
    for decision in decisions:
        if decision.conflict_score is not None:
            (kept if decision.keep else dropped)[_bin(decision.conflict_score, limit)] += 1
    unit = HEIGHT / max(1, *(below + above for below, above in zip(kept, dropped, strict=True)))
    bars = [
        bar
        for number, (below, above) in enumerate(zip(kept, dropped, strict=True))
        for bar in (_bar(number, 0, below, unit, KEPT), _bar(number, below, above, unit, DROPPED))
    ]
    zero = f'<path d="M{WIDTH / 2} 0V{HEIGHT}" stroke="currentColor" stroke-opacity=".5"/>'
    base = f'<path d="M0 {HEIGHT}H{WIDTH}" stroke="currentColor" stroke-opacity=".3"/>'
    return (
        f'<svg role="img" aria-label="{label}" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<title>{label}</title>{''.join(bars)}{zero}{base}</svg>"
    )


def _bar(number: int, start: int, count: int, unit: float, colour: str) -> str:
    step = WIDTH / BINS
    top = HEIGHT - (start + count) * unit
    size = f'x="{number * step:g}" y="{top:.2f}" width="{step - 0.5:g}" height="{count * unit:.2f}"'
    return f'<rect {size} fill="{colour}"/>' if count else ""


def _bin(score: float, limit: float) -> int:
    """(lo, hi], so that what a threshold of 0 keeps is left of the line."""
    edges = [limit * (2 * number / BINS - 1) for number in range(BINS + 1)]
    return min(max(bisect_left(edges, score) - 1, 0), BINS - 1)


def _limit(decisions: Iterable[wire.Decision]) -> float:
    """The largest score, whatever its sign, in tenths."""
    largest = max((abs(decision.conflict_score or 0.0) for decision in decisions), default=0.0)
    return next(tenth / 10 for tenth in range(1, 11) if tenth == 10 or largest <= tenth / 10)
