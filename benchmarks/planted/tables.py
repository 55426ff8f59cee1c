"""The tables of all seeds: what was measured, and what its differences are worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

from benchmarks.planted import ablations, arms
from benchmarks.planted.statistics import Estimate, estimate, gap_closed, paired_difference

Trials = Sequence[dict[str, Any]]
"""What `trial.run` gave for each seed of one world."""

WANTED_AUROC, WANTED_GAP, WANTED_P = 0.93, 0.75, 0.01
"""What the project set out to show."""


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, and rows of cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(trials: Trials) -> list[Table]:
    """All tables of one world."""
    found = [detection(trials), outcomes(trials), differences(trials), equal_margins(trials), dropped(trials)]
    return [*found, ablated(trials)] if trials[0]["ablations"] else found


def detection(trials: Trials) -> Table:
    """How well each score finds the conflicts."""
    share = mean(t["conflicts"] for t in trials)
    return scores(f"Finding the conflicts ({share:.0%} of the pairs)", [t["detection"] for t in trials])


def scores(title: str, found: Sequence[dict[str, dict[str, float]]]) -> Table:
    """AUROC and average precision by score, of all seeds."""
    rows = [
        [name, *(_spread([each[name][key] for each in found]) for key in ("auroc", "average_precision"))]
        for name in found[0]
    ]
    return Table(title, ("score", "AUROC", "average precision"), rows)


def outcomes(trials: Trials) -> Table:
    """What became of a model trained on what each arm keeps."""

    def cells(name: str, rows: Trials) -> list[str]:
        kept = "–" if "kept" not in rows[0] else f"{mean(row['kept'] for row in rows):.0f}"
        wrong = "–" if "kept" not in rows[0] else f"{mean(row['conflicts_kept'] for row in rows):.1%}"
        figures = (_spread([row[key] for row in rows]) for key in ("seen", "unseen"))
        margins = (f"{mean(row[key] for row in rows):.2f}" for key in ("margin_seen", "margin_unseen"))
        return [name, kept, wrong, *figures, *margins, f"{mean(row['perplexity'] for row in rows):.3f}"]

    columns = ("trained on", "pairs", "conflicts", "seen", "unseen", "margin seen", "margin unseen", "perplexity")
    rows = [cells("(start)", [t["start"] for t in trials])]
    rows += [cells(name, [t["arms"][name] for t in trials]) for name in trials[0]["arms"]]
    return Table("Held-out preference accuracy, reward margin, and tax", columns, rows)


def differences(trials: Trials) -> Table:
    """CONGRAD with its threshold less each other arm, seed by seed."""
    rows = []
    for name in trials[0]["arms"]:
        if name != arms.THRESHOLD:
            found = [_difference(trials, name, key) for key in ("seen", "unseen", "perplexity")]
            intervals = [interval(each, scale) for each, scale in zip(found, (100, 100, 1), strict=True)]
            rows.append([name, *(cell for pair in zip(intervals, map(p_value, found), strict=True) for cell in pair)])
    columns = ("CONGRAD, threshold, less", "seen, points [95 %]", "p", "unseen, points [95 %]", "p", "perplexity", "p")
    return Table("Paired differences", columns, rows)


def equal_margins(trials: Trials) -> Table:
    """What each arm has and has paid when it has the margin that training on all pairs ends with, linear between the
    looks, and the paired differences from training on all pairs.

    Arms that do not get as far in every seed are left out.
    """
    rows = []
    everything = [t["arms"][arms.ALL] for t in trials]
    for name in [arms.ALL, *(name for name in trials[0]["arms"] if name != arms.ALL)]:
        found = [_at_margin(t, name, all_["margin_seen"]) for t, all_ in zip(trials, everything, strict=True)]
        reached = [figures for figures in found if figures is not None]
        if len(reached) < len(found):
            continue
        cells = [f"{mean(each['step'] for each in reached):.0f}"]
        for key, scale in (("seen", 100), ("unseen", 100), ("perplexity", 1)):
            values = [each[key] for each in reached]
            less = paired_difference(values, [each[key] for each in everything])
            cells += [_spread(values), *(["", ""] if name == arms.ALL else [interval(less, scale), p_value(less)])]
        rows.append([name, *cells])
    difference = "less all [95 %]"
    columns = ["trained on", "steps"]
    for key in ("seen", "unseen", "perplexity"):
        columns += [key, difference, "p"]
    return Table("The tax at the same margin", columns, rows)


def _at_margin(trial: dict[str, Any], name: str, margin: float) -> dict[str, float] | None:
    """An arm's figures where its margin in seen languages first reaches ``margin``; None if it never does."""
    before = {"step": 0.0, **trial["start"]}
    for after in trial["arms"][name]["curve"]:
        if after["margin_seen"] >= margin:
            share = (margin - before["margin_seen"]) / (after["margin_seen"] - before["margin_seen"])
            return {key: before[key] + share * (after[key] - before[key]) for key in before}
        before = after
    return None


def dropped(trials: Trials) -> Table:
    """What the threshold drops, by how pairs came by their labels."""
    kinds = trials[0]["dropped"]
    rows = [[kind, f"{mean(t['dropped'].get(kind, 0.0) for t in trials):.1%}"] for kind in kinds]
    return Table("What the threshold drops", ("label", "dropped"), rows)


def ablated(trials: Trials) -> Table:
    """The score with one part changed at a time, and the paired difference from the default."""
    default = [t["ablations"][ablations.DEFAULT]["auroc"] for t in trials]
    rows = []
    for name in trials[0]["ablations"]:
        values = [t["ablations"][name]["auroc"] for t in trials]
        less = paired_difference(values, default)
        cells = ["", ""] if name == ablations.DEFAULT else [interval(less, 1, 4), p_value(less)]
        rows.append([name, _spread(values), *cells])
    return Table("Ablations of the score", ("changed", "AUROC", "less the default [95 %]", "p"), rows)


@dataclass(frozen=True)
class Target:
    """What the project set out to show, what was found, and whether that is it."""

    wanted: str
    found: str
    met: bool


def targets(trials: Trials) -> list[Target]:
    """Of one world, against those of the cheap baselines that were trained in it."""
    cheap = [name for name in arms.CHEAP if name in trials[0]["arms"]]
    auroc = estimate([t["detection"][arms.THRESHOLD]["auroc"] for t in trials])
    gap = gap_closed(*(_accuracies(trials, name) for name in (arms.ALL, arms.THRESHOLD, arms.ORACLE)))
    against = {name: _difference(trials, name, "seen") for name in cheap}
    worst = max(against.items(), key=lambda item: 1.0 if item[1].p is None or item[1].mean <= 0 else item[1].p)
    unseen = _difference(trials, arms.ALL, "unseen")
    return [
        Target(f"AUROC of at least {WANTED_AUROC}", interval(_share(auroc)), auroc.mean >= WANTED_AUROC),
        Target(
            f"at least {WANTED_GAP:.0%} of the gap in seen languages from all to the oracle closed",
            f"{interval(gap, 100, 0)} %",
            gap.mean >= WANTED_GAP,
        ),
        Target(
            f"in seen languages better than each of {', '.join(cheap)}, p < {WANTED_P}",
            f"the hardest is {worst[0]}: {interval(worst[1], 100)} points, p: {p_value(worst[1])}",
            all(e.mean > 0 and e.p is not None and e.p < WANTED_P for e in against.values()),
        ),
        Target(
            "in unseen languages not worse than all",
            f"{interval(unseen, 100)} points, p: {p_value(unseen)}",
            unseen.mean >= 0,
        ),
    ]


def _share(found: Estimate) -> Estimate:
    """Of something that is 1 at most: Student's t does not know that."""
    return replace(found, high=min(found.high, 1.0))


def _accuracies(trials: Trials, name: str, key: str = "seen") -> list[float]:
    return [t["arms"][name][key] for t in trials]


def _difference(trials: Trials, name: str, key: str) -> Estimate:
    return paired_difference(_accuracies(trials, arms.THRESHOLD, key), _accuracies(trials, name, key))


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def interval(found: Estimate, scale: float = 1, digits: int | None = None) -> str:
    """The mean and its interval, times ``scale``."""
    places = (1 if scale > 1 else 3) if digits is None else digits
    center, low, high = (f"{scale * value:.{places}f}" for value in (found.mean, found.low, found.high))
    return f"{center} [{low}, {high}]"


def p_value(found: Estimate) -> str:
    """Of a paired test; a dash where all seeds agree."""
    if found.p is None:
        return "–"
    return "< 0.0001" if found.p < 0.0001 else f"{found.p:.4f}"
