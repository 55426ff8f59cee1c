"""What `congrad filter` says of a file before anything is sent, and of the decisions once all is written."""

import sys
from collections import Counter
from collections.abc import Sequence

from congrad.commands.terminal.output import err, out, print_json, say
from congrad.contract import wire
from congrad.contract.summary import summarise
from congrad.files.samples import Survey
from congrad.report.lengths import length_spearman, told
from congrad.showing.tables import counts_table, summary_table


def show_plan(found: Survey, batch_size: int, as_json: bool) -> None:
    """What would be sent."""
    requests = -(-found.rows // batch_size)
    if as_json:
        languages = dict(sorted(found.languages.items()))
        plan = {"rows": found.rows, "by_language": languages, "requests": requests, "bytes": found.bytes}
        bad = {"bad_rows": found.bad.total} if found.bad.are_dropped else {}
        print_json(plan | bad | ({"ties": found.bad.ties} if found.bad.ties else {}))
        return
    out.print(counts_table("rows", found.languages))
    several = "s" if requests > 1 else ""
    out.print(
        f"{found.rows} rows in {requests} request{several}, about {found.bytes / 2**20:.1f} MiB. Nothing was sent."
    )
    if found.bad.total:
        out.print(f"{found.bad.total} more are no samples and would be dropped.")


def show_summary(
    decisions: Sequence[wire.Decision],
    direction: wire.DirectionRef,
    notes: Sequence[str],
    report: str | None = None,
) -> None:
    """What was decided, beside the results.

    :param notes: on the languages of the direction, see `wire.Direction`.
    :param report: the page that this run has written, if it was asked for one.
    """
    reasons = _reasons(decisions)
    err.print(summary_table(summarise(decisions)))
    if reasons:
        say("without a score: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    if cut := sum(decision.truncated for decision in decisions):
        say(f"{cut} {'rows were' if cut > 1 else 'row was'} cut at the checkpoint's maximum length")
    if repeated := sum(decision.repeated for decision in decisions):
        were, count = ("pairs were", "count") if repeated > 1 else ("pair was", "counts")
        say(f"{repeated} {were} in the direction already, and {count} once")
    if direction.forgotten:
        say(f"the direction has forgotten {direction.forgotten} of its pairs, and would count them again")
    if lengths := told(length_spearman(decisions)):
        say(lengths)
    say(f"scored against version {direction.version} of direction {direction.name!r} of {direction.checkpoint!r}")
    for note in notes:
        say(note)
    if notes:
        say(f"look at some pairs before trusting what was dropped: {report or '--report FILE'} shows them")


def print_summary(
    decisions: Sequence[wire.Decision], direction: wire.DirectionRef, notes: Sequence[str], beside_rows: bool
) -> None:
    """The same as JSON.

    :param beside_rows: standard output is taken.
    """
    summary = {
        "rows": len(decisions),
        **summarise(decisions).model_dump(),
        "without_score": _reasons(decisions),
        "truncated": sum(decision.truncated for decision in decisions),
        "direction": direction,
        "notes": notes,
        "length_spearman": length_spearman(decisions),
    }
    print_json(summary, sys.stderr if beside_rows else sys.stdout)


def _reasons(decisions: Sequence[wire.Decision]) -> dict[str, int]:
    reasons = Counter(str(decision.reason) for decision in decisions if decision.reason is not None)
    return dict(sorted(reasons.items()))
