"""One run on real pairs: tables in the terminal, Markdown and JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.pages import write
from benchmarks.planted import arms, pages, tables
from benchmarks.planted.real_text import HELD_OUT, MATCHED, MAX_TOKENS, SWAPPED, TRAINED_TOKENS, RealPairs
from benchmarks.planted.real_trial import ANY, BALANCED, DEFAULT, LENGTH_RATIO
from benchmarks.planted.real_trial import MATCHED as OF_MATCHED_LENGTH
from benchmarks.planted.statistics import paired_difference
from benchmarks.planted.tables import Table

SUBSETS = {
    OF_MATCHED_LENGTH: f"Pairs of matched length (up to a ratio of {np.exp(MATCHED):.2f})",
    BALANCED: "Pairs balanced by length (the longer completion is chosen in half of them)",
    ANY: "All pairs, whatever their lengths",
}
INTRODUCTION = (
    "Real preference pairs, of which a fifth in each language have chosen and rejected exchanged; which ones is known. "
    "The labels of the others are taken to be right, which of people's judgements never all are: no score can reach an "
    "AUROC of 1. In such data length gives labels away, as the better answer is mostly the longer one. So the scores "
    "are compared on pairs of matched length, on pairs in which length says nothing, and on all of them, each time "
    "beside the length alone.",
)


@dataclass(frozen=True)
class RealTextReport:
    """One run: what it depends on, the pairs, and the results of its seeds."""

    about: dict[str, Any]
    pairs: RealPairs
    trials: Sequence[dict[str, Any]]

    def show(self, console: Console) -> None:
        """Prints all tables."""
        pages.show(console, "Real text", self._tables())

    def write(self, folder: Path) -> list[Path]:
        """Writes both files."""
        lines = pages.heading("The effect of filtering: real text", self.about, INTRODUCTION)
        for table in self._tables():
            lines += pages.section(table, table.title, 2)
        markdown = "\n".join([*lines, "", "## Reading it", "", *(f"- {note}" for note in self._notes())]) + "\n"
        data = json.dumps({"about": self.about, "trials": self.trials}, indent=1) + "\n"
        return write(folder, "real_text", markdown, data)

    def _tables(self) -> list[Table]:
        detection = [_detection(self.trials, subset) for subset in SUBSETS]
        return [
            *detection,
            tables.outcomes(self.trials),
            tables.differences(self.trials),
        ]

    def _notes(self) -> list[str]:
        seen, unseen = (sorted(set(each.languages)) for each in (self.pairs.seen, self.pairs.unseen))
        held = self.trials[0]["held_out"]
        return [
            f"pairs: those of at most {MAX_TOKENS} tokens, {len(self.pairs.seen.texts)} in the {len(seen)} languages "
            f"that are trained on ({', '.join(seen)}) and {len(self.pairs.unseen.texts)} in others "
            f"({', '.join(unseen)}).",
            "scores: the worker's engine and `decide` with CONGRAD_UNIT_GRADIENTS=false (the default when this was "
            "run), PCGrad and otherwise the defaults, or with the settings that are named, all pairs "
            f"of a table in one request; {SWAPPED:.0%} swapped. `unit gradients` is CONGRAD_UNIT_GRADIENTS, `MLP only` "
            "CONGRAD_TARGET_MODULES=mlp, and a loss CONGRAD_LOSS.",
            f"{LENGTH_RATIO}: the logarithm of |rejected| / |chosen|, in tokens, and nothing else.",
            "less the default: paired over seeds, with the p of a paired t test, not corrected for the number of rows. "
            "Seeds differ in what is swapped and held out; the pairs and the checkpoint are the same. So the intervals "
            "say nothing of other pairs or checkpoints, for which they would be wider.",
            f"training: on the pairs of matched length of at most {TRAINED_TOKENS} tokens, by TRL's `DPOTrainer` with "
            "the same steps for every arm. "
            f"{HELD_OUT:.0%} of the prompts are held out in all languages, so that none is trained on in translation: "
            f"about {held['seen']} pairs in seen languages and {held['unseen']} in unseen ones, with their labels as "
            "they are. The tax is the perplexity of the held-out prompts.",
        ]


def _detection(trials: Sequence[dict[str, Any]], subset: str) -> Table:
    found = [{name: of for name, of in t["detection"][subset].items() if name != "pairs"} for t in trials]
    table = tables.scores("", found)
    default = [each[arms.THRESHOLD]["auroc"] for each in found]
    rows = []
    for row in table.rows:
        less = paired_difference([each[row[0]]["auroc"] for each in found], default)
        cells = ["", ""] if row[0] == arms.THRESHOLD else [tables.interval(less), tables.p_value(less)]
        rows.append([*row, *cells])
    title = f"{SUBSETS[subset]}: {trials[0]['detection'][subset]['pairs']}"
    return Table(title, (*table.columns, f"AUROC less the {DEFAULT} [95 %]", "p"), rows)
