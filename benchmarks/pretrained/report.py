"""One run on pretrained checkpoints: tables in the terminal, Markdown and JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from benchmarks.pages import as_json, write
from benchmarks.planted import pages
from benchmarks.planted.statistics import Estimate, estimate, paired_difference
from benchmarks.planted.tables import Table, interval, p_value
from benchmarks.pretrained import arms, first_step
from benchmarks.pretrained.detection import AGGREGATORS, ALL, BALANCED, MATCHED, Figures
from benchmarks.pretrained.minority import MEASURES
from benchmarks.pretrained.other_pairs import FOLDS
from benchmarks.pretrained.regimes import EVERYWHERE, NOISE, REGIMES, THREE
from benchmarks.pretrained.rule import EVEN, standings

INTRODUCTION = (
    "Real preference pairs under real pretrained checkpoints. Of some labels chosen and rejected are exchanged; which "
    "ones is known. The labels of the others are taken to be right, which of people's judgements never all are. A "
    "swapped pair's gradient is the pair's with the other sign, so that one pass of the model serves every draw.",
)
RULE = (
    "Written down before these tables were made, though after first figures on two larger checkpoints: the worst "
    f"regime decides, on all pairs and over all checkpoints; those within {EVEN} of the best are even, and of them the "
    f"highest mean wins; and it has to be within {EVEN} of the best where a fifth is swapped everywhere. What a "
    "minority that is right loses is no part of the rule, as a filter cannot know who is right.",
)
SUBSETS = (ALL, MATCHED, BALANCED)
REFERENCE = "pcgrad"


@dataclass(frozen=True)
class RealModelsReport:
    """What it depends on, and what was measured by checkpoint."""

    about: dict[str, Any]
    found: Mapping[str, Mapping[str, Any]]

    def show(self, console: Console) -> None:
        """Prints all tables."""
        pages.show(console, "The default", [self._default()])
        for model, of in self.found.items():
            pages.show(console, model, [table for _, table in _tables(of)])

    def write(self, folder: Path, name: str) -> list[Path]:
        """Writes both files."""
        lines = pages.heading("The effect of filtering: pretrained models", self.about, INTRODUCTION)
        lines += ["", "## Which aggregator should be the default", "", *RULE]
        lines += pages.section(self._default(), "By the rule", 3)
        for model, of in self.found.items():
            lines += ["", f"## {model}", "", _about(of)]
            for note, table in _tables(of):
                lines += [*pages.section(table, f"{model}: {table.title}", 3), *(["", note] if note else [])]
        markdown = "\n".join([*lines, "", "## Reading it", "", *(f"- {note}" for note in READING)]) + "\n"
        return write(folder, name, markdown, as_json({"about": self.about, "found": dict(self.found)}))

    def _default(self) -> Table:
        rows = [
            [one.name, f"{one.worst:.3f}", one.where, f"{one.mean:.3f}", f"{one.usual:.3f}"]
            for one in standings(self.found)
        ]
        columns = ("aggregator", "worst AUROC", "where", "mean", EVERYWHERE.name)
        return Table("Aggregators, the first by the rule first", columns, rows)


READING = (
    "intervals: 95 %, by Student's t over draws of what is swapped and whose languages it is in. The pairs and the "
    "checkpoint are the same in all draws, so that they say nothing of other pairs, for which they would be wider.",
    "less pcgrad: paired over draws, with the p of a paired t test, not corrected for the number of rows. Over prompts "
    f"too: the variance over draws and that of a jackknife over prompts, of which 1 in {FOLDS} is left out at a time.",
    "scores: of one request that begins a direction, from the worker's compressed gradients (kronecker, k = 128, "
    "D = 16,384, all linear layers of the decoder blocks); scaled to length 1, which is the default, but for the rows "
    "with lengths as they are, which is the paper's mean. They are computed from inner products, by the formulas that "
    "the decide worker has; a test holds one against the other.",
    f"regimes: a share of the labels in some of the eight languages, which are drawn anew each time, and "
    f"{REGIMES[3].elsewhere:.0%} in all others.",
    "after one step: a third of the prompts is held out in all languages at once. A small step along the mean gradient "
    "of what an arm keeps makes the margin of a held-out pair grow or not; accuracy is the share where it grows in "
    "favour of the better answer. Random, length, own-language cosine and the middle of the scores keep as many as "
    "agreement does. It is the first step of plain gradient descent on the same weights. "
    f"After {first_step.STEPS} steps: DPO by gradient descent on the linearised model, whose gradients stay as they "
    "are at the start, at the same rate for every arm. No model is trained for either.",
    "losses: sigmoid_norm's and simpo's gradients have one direction where the reference is the policy.",
    "seconds of a choice of layers: processor time for some of the pairs, the best of three rounds, over that of all "
    "layers in the same rounds.",
    f"a minority that is right: {NOISE:.0%} of all labels are wrong, and those of the minority are turned round "
    "besides, which is what it wants. `own pairs kept` are those of the minority whose labels are right. `learns` is "
    "the share of held-out pairs, with prompts that no pair is trained on, whose margin grows with a small step along "
    "the mean gradient of what is kept: the first step of training, and no more than that. Short answers: the majority "
    "wants the longer answer, the minority the shorter one, on pairs whose lengths differ by a quarter at least, "
    "whatever the file prefers.",
)


def _about(of: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{tag} {number}" for tag, number in of["pairs"].items())
    return f"{sum(of['pairs'].values())} pairs: {counts}."


def _tables(of: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    """With a note on each, or none."""
    for subset in SUBSETS:
        pairs, regimes = of["detection"][subset]["pairs"], of["detection"][subset]["regimes"]
        title = f"AUROC of swapped labels, {subset} ({pairs} pairs)"
        yield "", Table(title, ("score", *regimes), _matrix(regimes, "auroc"))
    regimes = of["detection"][ALL]["regimes"]
    yield "", Table("Average precision, all pairs", ("score", *regimes), _matrix(regimes, "average_precision"))
    yield "", _differences(regimes, of["over_prompts"])
    for name, title in (("layers", "Choices of layers"), ("losses", "Losses")):
        yield "", _varied(title, of[name], of.get("seconds", {}))
    for regime, found in of["first_step"].items():
        yield "", _first_step(regime, found)
    for name, title in (("opposite", "the opposite"), ("short", "short answers")):
        if name in of["minority"]:
            yield "", _minority(f"A minority that is right and wants {title}", of["minority"][name])
    if "fidelity" in of:
        yield "", _fidelity(of["fidelity"])


def _matrix(regimes: Mapping[str, Figures], measure: str) -> list[list[str]]:
    """A row for each score, a column for each regime: means and half their intervals."""

    def cell(values: Sequence[float]) -> str:
        found = estimate(values)
        return f"{found.mean:.3f} ± {found.high - found.mean:.3f}"

    names = next(iter(regimes.values()))
    return [[name, *(cell(figures[name][measure]) for figures in regimes.values())] for name in names]


def _differences(regimes: Mapping[str, Figures], over_prompts: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for regime, figures in regimes.items():
        best = max(mean(figures[name]["auroc"]) for name in AGGREGATORS)
        agreement, others = figures["agreement"]["auroc"], figures[REFERENCE]["auroc"]
        found, wider = paired_difference(agreement, others), Estimate(**over_prompts[regime])
        prompts = f"[{wider.low:.3f}, {wider.high:.3f}]"
        rows.append([regime, interval(found), p_value(found), prompts, f"{mean(agreement) - best:+.3f}"])
    columns = ("labels swapped", "AUROC [95 %]", "p", "[95 %] over prompts too", "less the best aggregator")
    return Table("Agreement less PCGrad, all pairs", columns, rows)


def _first_step(regime: str, found: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    rows = []
    for name, measures in found.items():
        cells = [interval(estimate(measures[one]), 100) for one in first_step.MEASURES]
        for measure in (first_step.ACCURACY, first_step.LATER):
            less = paired_difference(found[arms.MAIN][measure], measures[measure])
            cells += ["", ""] if name == arms.MAIN else [interval(less, 100), p_value(less)]
        rows.append([name, *cells])
    less_of = (f"{arms.MAIN} less it, accuracy", "p", f"after {first_step.STEPS} steps", "p")
    columns = ("trained on", *first_step.MEASURES, *less_of)
    return Table(f"After a step on what is kept, and {first_step.STEPS}, {regime}: per cent [95 %]", columns, rows)


def _varied(title: str, found: Mapping[str, Figures], seconds: Mapping[str, float]) -> Table:
    names = list(dict.fromkeys(name.rpartition(", ")[0] for name in found[EVERYWHERE.name]))
    first = names[0]
    rows = []
    for name in names:
        cost = f"{seconds[name] / seconds[first]:.2f}" if name in seconds else "–"
        cells = []
        for regime, by in ((EVERYWHERE, "pcgrad"), (EVERYWHERE, "agreement"), (THREE, "agreement")):
            figures = found[regime.name]
            own, default = (figures[f"{which}, {by}"]["auroc"] for which in (name, first))
            less = "" if name == first else f" ({interval(paired_difference(own, default))})"
            cells.append(f"{mean(own):.3f}{less}")
        rows.append([name, cost, *cells])
    columns = ("", "seconds", f"{EVERYWHERE.name}, PCGrad", f"{EVERYWHERE.name}, agreement", f"{THREE.name}, agreement")
    return Table(f"{title}: AUROC, all pairs (less the first [95 %])", columns, rows)


def _minority(title: str, found: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> Table:
    rows = [
        [f"{size} of 8, {name}", *(interval(estimate(measures[one]), 100) for one in MEASURES)]
        for size, by in found.items()
        for name, measures in by.items()
    ]
    return Table(f"{title}, per cent [95 %]", ("", *MEASURES), rows)


def _fidelity(found: Sequence[Any]) -> Table:
    each = [one if isinstance(one, dict) else asdict(one) for one in found]
    rows = [[f"{one['rank']}", f"{one['dim']:,}", f"{one['scores']:.4f}", f"{one['cosines']:.4f}"] for one in each]
    return Table("k and D: Spearman with exact gradients", ("k", "D", "scores", "cosines between pairs"), rows)
