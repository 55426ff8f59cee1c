"""One run as JSON, as Markdown, and as tables in the terminal."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.pages import write
from benchmarks.planted import pages, plots
from benchmarks.planted.tables import Table, Trials, tables, targets
from benchmarks.planted.trial import BINS
from benchmarks.planted.world import World

ANNOUNCED, SCATTERED, DIVIDED = "announced", "scattered", "divided"
"""The worlds: with a word that announces the direction, without it, and with it and languages of different tastes."""

INTRODUCTION = (
    "Twelve made-up languages have words of their own for the same concepts, and two tasks in common: to count on from "
    "a symbol, modulo 8, and to skip by threes. A Llama of two layers × 64 is pretrained on texts of all twelve, which "
    "count up about as often as down; eight of them then have preference pairs. The shared criterion is to count up. "
    "Chosen and rejected are always of the same length, and style (saying the first symbol again, returning to it, the "
    "closing word, typos) is drawn alike for both, so that neither length nor style tells a wrong label from a right "
    "one; only the rival criterion below has a style of its own.",
    "Some labels are wrong, and which is known. A fifth is swapped. In two languages 30 % of the pairs are judged by a "
    "rival criterion (not to say the first symbol again), at the cost of the shared one. In two others 40 % of the "
    "labels are drawn by a coin, and half of those are wrong.",
)
WORLD_TITLES = {
    ANNOUNCED: "One shared choice",
    SCATTERED: "A choice for each symbol",
    DIVIDED: "Languages that disagree",
}
WORLD_NOTES = {
    ANNOUNCED: "An answer begins with a word that announces whether it counts up or down, one of three synonyms "
    "each: what is preferred is one choice, which all prompts and languages share.",
    SCATTERED: "The same without the announcing word: the direction shows in the symbols alone, so that from each of "
    "the eight symbols it is learnt apart, and the gradients of pairs that begin at different ones have little in "
    "common. It is here because the result depends on it: the method's premise is one direction in common, and this "
    "world keeps less of it. Fewer arms are trained.",
    DIVIDED: "The first world with a second criterion, of which languages think differently: answers begin and end "
    "with words of one of two manners, and in 90 % of the pairs chosen and rejected differ in it. Five languages like "
    "the one manner, three the other. 30 % of the labels are swapped, and nothing else is wrong; there are 200 pairs a "
    "language. A pair conflicts if its label is against the shared criterion, whatever its manner. It is here for "
    "surgery, which is made for languages whose gradients point away from each other.",
}
READING = (
    "scores: the worker's own engine and `decide` with the settings of the paper's mean (CONGRAD_UNIT_GRADIENTS=false, "
    "PCGrad over orders) and otherwise the defaults (kronecker, k = 128, D = 16,384, half-life 1024), all pairs in one "
    "request that begins a direction. `default` was so when this was run; `unit gradients` is the default since.",
    "seen, unseen: the share of clean held-out pairs, which differ in direction alone and have no typos, of which the "
    "model finds the chosen answer the more likely one; in the eight languages of the pairs, and in the four that were "
    "in pretraining only. Mean and standard deviation over seeds.",
    "margin: by how many nats log π(chosen) − log π(rejected) has grown over the start model's; times β = 0.1 it is "
    "DPO's reward margin.",
    "perplexity: of the answers of the second task, which has no preferences: the tax. In the same number of steps "
    "labels that agree move a model further than labels that contradict each other, and the second task with it: read "
    "the tax beside the margin, and beside the oracle's.",
    "Training is TRL's `DPOTrainer` on all weights, with the same number of steps, batch, learning rate and order seed "
    "for every arm, so that arms with fewer pairs see them more often. An arm is never compared after less training.",
    "random, length, reward margin, loss, own-language cosine, mean cosine and CONGRAD, fraction keep as many pairs as "
    "CONGRAD's threshold (max_conflict = 0), up to rounding. length keeps the shortest pairs; reward margin those that "
    "the start model agrees with most; loss those whose chosen answer it finds the likeliest a token; own-language "
    "cosine compares with the mean of the pair's own language only; mean cosine, no surgery, with the plain mean of "
    "the languages. Of both the pair's own share is taken out, as CONGRAD does.",
    "oracle: all clean pairs, and only those.",
    "differences: mean and 95 % interval of the paired differences over seeds, and p of the paired t test, two-sided, "
    "not corrected for the number of rows.",
    "requests of 32: the pairs come as a stream, each request scored against the direction so far, so that the first "
    "ones meet one made of few pairs. Scoring everything against the finished direction (the client's `two_pass`) is "
    "the one request of the other rows.",
    "aggregators: PCGrad and UPGrad change the plain mean only where the languages' mean gradients conflict. Where "
    "most labels in most languages are right they hardly do, so that the first two worlds say little about surgery.",
    "the tax at the same margin: steps, accuracy and perplexity where an arm's margin in seen languages reaches what "
    "training on all pairs ends with; each model is measured five times on its way, and figures between are linear. "
    "Arms that do not get there in every seed are left out. Training on all pairs has its low rate of learning behind "
    "it there, and the others are in the middle of theirs.",
    "held-out pairs are new answers to prompts that occur in training too: a language has eight.",
    "ablations: p is not corrected. After Holm's correction for the 19 of the first world, MLP only and unit gradients "
    "have p = 0.08.",
    "arms named as ablations keep what their own threshold keeps, which is another number of pairs.",
    "embeddings begin as a vector of the concept, one of the language and one of the word: a multilingual model would "
    "have learnt that much from its texts.",
)


@dataclass(frozen=True)
class EffectReport:
    """One run: what it depends on, and by world the results of its seeds."""

    about: dict[str, Any]
    worlds: dict[str, World]
    trials: Mapping[str, Trials]

    def show(self, console: Console) -> None:
        """Prints all tables."""
        for name, trials in self.trials.items():
            pages.show(console, WORLD_TITLES[name], [_targets(trials), *tables(trials)])

    def to_markdown(self) -> str:
        """What was done, the tables, and how to read them."""
        lines = pages.heading("The effect of filtering: a controlled world", self.about, INTRODUCTION)
        for name, trials in self.trials.items():
            title = WORLD_TITLES[name]
            lines += ["", f"## {title}", "", WORLD_NOTES[name], "", f"![{title}]({_picture(name)})"]
            for table in (_targets(trials), *tables(trials)):
                lines += pages.section(table, f"{title}: {table.title}", 3)
        return "\n".join([*lines, "", "## Reading it", "", *(f"- {note}" for note in READING)]) + "\n"

    def to_json(self) -> str:
        """The settings of the worlds and every figure of every seed."""
        worlds = {name: asdict(world) for name, world in self.worlds.items()}
        return json.dumps({"about": self.about, "worlds": worlds, "trials": self.trials}, indent=1) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Writes both files."""
        return write(folder, "effect", self.to_markdown(), self.to_json())

    def draw(self, folder: Path) -> list[Path]:
        """Writes a picture of each world.

        :raises ModuleNotFoundError: matplotlib is not installed.
        """
        paths = [folder / _picture(name) for name in self.trials]
        for path, trials in zip(paths, self.trials.values(), strict=True):
            plots.draw(path, trials, BINS)
        return paths


def _picture(world: str) -> str:
    return f"effect-{world}.svg"


def _targets(trials: Trials) -> Table:
    rows = [[target.wanted, target.found, "yes" if target.met else "no"] for target in targets(trials)]
    return Table("Targets", ("target", "found", "met"), rows)
