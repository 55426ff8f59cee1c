"""What a run of `benchmarks/effect.py` found, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planted import arms
from benchmarks.planted.statistics import estimate
from benchmarks.planted.tables import Trials

ARMS = (
    arms.ALL, arms.RANDOM, arms.LENGTH, arms.MARGIN, arms.LOSS, arms.OWN_LANGUAGE, arms.NO_SURGERY, arms.FRACTION,
    arms.THRESHOLD, arms.ORACLE,
)  # fmt: skip
CURVES = {arms.ALL: "#777777", arms.RANDOM: "#bbbbbb", arms.THRESHOLD: "#2166ac", arms.ORACLE: "#1b7837"}
KINDS = {"clean": "#2166ac", "swapped": "#b2182b", "rival": "#e08214", "coin": "#8073ac"}


def draw(path: Path, trials: Trials, bins: Sequence[float]) -> None:
    """Scores by label, accuracies by arm, and the tax over the margin, of one world.

    :param bins: the edges of the histograms in ``trials``.
    :raises ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    scores, accuracies, tax = figure.subplots(1, 3, width_ratios=(1, 1.25, 1))
    _scores(scores, trials, np.asarray(bins))
    _accuracies(accuracies, trials)
    _tax(tax, trials)
    for axes in (scores, accuracies, tax):
        axes.spines[["top", "right"]].set_visible(False)
    with rc_context({"svg.hashsalt": "congrad"}):  # the same figures, the same file
        figure.savefig(path, metadata={"Date": None})


def _scores(axes: Any, trials: Trials, bins: np.ndarray) -> None:
    """Shares of the labels of each kind, over seeds."""
    for kind, color in KINDS.items():
        counts = np.sum([t["histogram"][kind] for t in trials if kind in t["histogram"]], axis=0)
        if np.ndim(counts):
            axes.stairs(counts / counts.sum(), bins, color=color, label=kind, fill=kind == "clean", alpha=0.8)
    filled = np.flatnonzero(np.sum([counts for t in trials for counts in t["histogram"].values()], axis=0))
    axes.set_xlim(bins[filled[0]], bins[filled[-1] + 1])
    axes.axvline(arms.THRESHOLD_AT, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="conflict score", ylabel="share of the label's pairs", title="Scores, by how labels came about")
    axes.legend(frameon=False)


def _accuracies(axes: Any, trials: Trials) -> None:
    names = [name for name in ARMS if name in trials[0]["arms"]][::-1]
    for offset, key, color in ((0.14, "seen", "#2166ac"), (-0.14, "unseen", "#e08214")):
        found = [estimate([t["arms"][name][key] for t in trials]) for name in names]
        means = np.array([each.mean for each in found])
        axes.errorbar(
            means,
            np.arange(len(names)) + offset,
            xerr=[means - [each.low for each in found], [each.high for each in found] - means],
            fmt="o",
            color=color,
            markersize=4,
            label=f"{key} languages",
        )
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="held-out preference accuracy, 95 %", title="Trained on what an arm keeps")
    axes.legend(frameon=False, loc="lower left")


def _tax(axes: Any, trials: Trials) -> None:
    """Means over seeds at each look."""
    for name, color in CURVES.items():
        looks = [_means([t["start"] for t in trials])]
        looks += [
            _means([t["arms"][name]["curve"][i] for t in trials]) for i in range(len(trials[0]["arms"][name]["curve"]))
        ]
        axes.plot(*zip(*looks, strict=True), color=color, marker="o", markersize=3, label=name)
    axes.set(xlabel="margin in seen languages, nats", ylabel="perplexity", title="The tax, as training goes on")
    axes.legend(frameon=False)


def _means(figures: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    return float(np.mean([f["margin_seen"] for f in figures])), float(np.mean([f["perplexity"] for f in figures]))
