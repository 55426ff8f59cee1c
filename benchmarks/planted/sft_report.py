"""All seeds of the completions, as JSON and as Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import pages
from benchmarks.planted import sft_trial as trial
from benchmarks.planted.sft import Fault
from benchmarks.planted.statistics import estimate
from benchmarks.planted.world import World

Trials = Sequence[dict[str, Any]]
"""What `sft_trial.run` gave for each seed of one model."""

WANTED_AUROC = 0.9

INTRODUCTION = (
    "The world and the model are those of [the effect of filtering](effect.md): made-up languages, and a Llama of two "
    "layers × 64 that is pretrained on their texts, which count up about as often as down. Here eight languages have "
    "prompts with one completion each, and the workers' loss is `sft`. A clean row answers its prompt and counts up. A "
    "fifth of the rows is noise, in every language, of three kinds in equal parts:",
    "- wrong direction: the answer counts down. The texts do that as often, so that the model finds it as likely.\n"
    "- another prompt's: an answer that counts up, but from a symbol that another prompt of the language gives. The "
    "model has learnt to begin with the prompt's own symbol or the one beside it.\n"
    "- shuffled symbols: the clean answer with its symbols in another order, and its other words where they were.",
)
TITLES = {trial.LEARNT: "A model that knows the task", trial.UNLEARNT: "A model that does not know it yet"}
NOTES = {
    trial.LEARNT: "1,200 steps of pretraining, as in the effect of filtering: the model has learnt to count, and "
    "whether to count up or down is open.",
    trial.UNLEARNT: "60 steps: the model has the words of the languages and a rough idea of an answer's form.",
}
FINDINGS = (
    "The target was set for the conflict score by itself, which misses it with either model. It finds one kind of "
    "three well; which kinds it finds depends on what the model knows. The reasons given here follow from how rows and "
    "texts are made; they are not measured apart.",
    "A completion's gradient says what there is to learn from it, and the consensus is what the rows have in common "
    "beyond what the model knows. To the model that knows the task that is to count up, and to keep to one language "
    "(texts borrow words, rows do not). So the conflict score finds the answers in the wrong direction, which the loss "
    "cannot tell from clean ones: both were equally frequent in the texts.",
    "It does not find the other two kinds there. The model counts already, from the right symbol and in order: clean "
    "rows ask for little change in that, so there is no direction which these rows could be against. They begin with "
    "a word that announces counting up, as the consensus wants it. What the model knows shows in its loss, which "
    "finds both kinds nearly perfectly.",
    "To the model that does not know the task the loss says next to nothing. Now the rows teach what an answer looks "
    "like, and shuffled symbols are against that too. Answers to another prompt are not found: each is a good answer "
    "by itself, and few of its tokens depend on its prompt.",
    "So a kind of noise that the model recognises is better left to the loss, and the two belong together: the rows "
    "that are high in either, with the gradients of the MLP layers, which are the better evidence in this world as in "
    "that of the preference pairs. With the model that knows the task this reaches what the conflict score alone does "
    "not; with the other it is worse than the conflict score, as its loss is no evidence.",
    "`max_conflict = 0` drops little of anything: nearly all rows have some of the consensus in them. A fraction is "
    "the better selection.",
)
READING = (
    "AUROC: the share of couples of a noisy and a clean row of which the noisy one scores higher; 0.5 is chance. Of a "
    "kind it is that kind's among itself and the clean rows. Mean over seeds and its 95 % interval, by Student's t.",
    "CONGRAD: the conflict score of the worker's own engine and `decide` with "
    "CONGRAD_UNIT_GRADIENTS=false (the default when this was run), PCGrad and the loss sft, all "
    "rows in one request that begins a direction; MLP only is the same with `CONGRAD_TARGET_MODULES=\\.mlp\\.`. That, "
    "the 60 steps and the last score were chosen with a look at seeds 0 and 1, which are among these.",
    "loss: −log p a token, by the same model; length: in tokens.",
    "loss or CONGRAD: the larger of a row's two ranks, which is high where either score is.",
    "a fifth: the rows that go where as many are dropped as there is noise, by that score.",
)


@dataclass(frozen=True)
class SftReport:
    """One run: what it depends on, and the results of its seeds."""

    about: dict[str, Any]
    world: World
    trials: Mapping[str, Trials]

    def to_json(self) -> str:
        """The settings of the world and every figure of every seed, by model."""
        whole = {"about": self.about, "world": asdict(self.world), "trials": self.trials}
        return json.dumps(whole, indent=1) + "\n"

    def to_markdown(self) -> str:
        """What was done, the tables, what they say, and how to read them."""
        lines = ["# Noise among completions: a controlled world", ""]
        lines += [f"- {key}: {value}" for key, value in self.about.items()]
        lines += [line for paragraph in INTRODUCTION for line in ("", paragraph)]
        for name, trials in self.trials.items():
            lines += ["", f"## {TITLES[name]}", "", NOTES[name]]
            for title, table in _tables(trials).items():
                lines += ["", f"### {TITLES[name]}: {title}", "", *table]
        lines += ["", "## What it says", *(line for text in FINDINGS for line in ("", text))]
        return "\n".join([*lines, "", "## Reading it", "", *(f"- {note}" for note in READING)]) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Writes both files."""
        return pages.write(folder, "sft", self.to_markdown(), self.to_json())


def _tables(trials: Trials) -> dict[str, list[str]]:
    """By title, as lines of Markdown."""
    return {
        "target": _target(trials),
        "AUROC": _detection(trials, "auroc"),
        "average precision": _detection(trials, "average_precision"),
        "what is dropped": _dropped(trials),
    }


def _target(trials: Trials) -> list[str]:
    wanted = f"AUROC of at least {WANTED_AUROC} for all noise"
    rows = []
    for name in (trial.CONFLICT, trial.CONFLICT_MLP, trial.EITHER, trial.EITHER_MLP):
        met = estimate(_values(trials, name, trial.ALL, "auroc")).mean >= WANTED_AUROC
        rows.append([f"{wanted}, by {name}", _interval(trials, name, trial.ALL, "auroc"), "yes" if met else "no"])
    return pages.table(("target", "found", "met"), rows)


def _detection(trials: Trials, figure: str) -> list[str]:
    scores = trials[0]["detection"]
    parts = list(scores[trial.CONFLICT])
    rows = [[name, *(_interval(trials, name, part, figure) for part in parts)] for name in scores]
    return pages.table(("score", *parts), rows)


def _dropped(trials: Trials) -> list[str]:
    rows = [
        [rule, *(f"{mean(t['dropped'][rule][fault] for t in trials):.1%}" for fault in Fault)]
        for rule in trials[0]["dropped"]
    ]
    return pages.table(("rule", *Fault), rows)


def _values(trials: Trials, score: str, part: str, figure: str) -> list[float]:
    return [t["detection"][score][part][figure] for t in trials]


def _interval(trials: Trials, score: str, part: str, figure: str) -> str:
    found = estimate(_values(trials, score, part, figure))
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
