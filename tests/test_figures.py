"""Figures that pages quote are those of the tables that they are from."""

import json
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest

from benchmarks.planted.statistics import paired_difference
from benchmarks.planted.tables import interval
from benchmarks.pretrained import first_step
from benchmarks.pretrained.detection import ALL

DOCS = Path(__file__).parents[1] / "docs"
MODELS = {"SmolLM2": "smollm2-135m", "Gemma-3": "gemma3-270m", "tiny": "tiny-multilingual"}
"""By how pages call checkpoints, their names in the tables."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """By checkpoint what was measured."""
    pages = [
        json.loads((DOCS / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("real_models", "real_models_tiny")
    ]
    return {model: of for page in pages for model, of in page["found"].items()}


def table(page: str, first: str) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the rows of the one table whose first column is so called."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    (begin,) = (i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[0], rows[2:]


def test_the_page_about_the_method_has_the_figures_of_whole_languages(found: dict[str, Any]) -> None:
    columns, rows = table("method.md", "labels swapped")
    assert {row[0] for row in rows} == set(found["tiny-multilingual"]["detection"][ALL]["regimes"])
    for row in rows:
        model = ""
        for column, cell in list(zip(columns, row, strict=True))[1:]:
            model, _, score = column.rpartition(": ") if ": " in column else (model, "", column)
            figures = found[MODELS[model]]["detection"][ALL]["regimes"][row[0]]
            assert cell == f"{mean(figures[score.lower()]['auroc']):.3f}", (row[0], column)


def test_the_page_about_the_method_has_the_differences_of_whole_languages(found: dict[str, Any]) -> None:
    columns, rows = table("method.md", "agreement less PCGrad")
    for row in rows:
        for column, cell in list(zip(columns, row, strict=True))[1:]:
            figures = found[MODELS[column]]["detection"][ALL]["regimes"][row[0]]
            less = paired_difference(figures["agreement"]["auroc"], figures["pcgrad"]["auroc"])
            assert cell == interval(less).replace("-", "−"), (row[0], column)


def test_the_page_about_the_method_has_the_figures_of_minorities(found: dict[str, Any]) -> None:
    columns, rows = table("method.md", "right minority's pairs kept")
    for row in rows:
        size, by = row[0].split(" of 8, ")
        for column, cell in list(zip(columns, row, strict=True))[1:]:
            measures = found[MODELS[column]]["minority"]["opposite"][size][by.lower()]
            kept, noise = (100 * mean(measures[one]) for one in ("own pairs kept", "noise kept"))
            assert cell == f"{kept:.0f} ({noise:.0f})", (row[0], column)


def test_the_page_about_the_method_has_the_figures_of_first_steps(found: dict[str, Any]) -> None:
    columns, rows = table("method.md", "trained on")
    regime = ""
    for row in rows:
        for column, cell in list(zip(columns, row, strict=True))[1:]:
            regime, _, steps = column.rpartition(": ") if ": " in column else (regime, "", column)
            measure = first_step.ACCURACY if steps == "one step" else first_step.LATER
            values = found[MODELS["SmolLM2"]]["first_step"][regime][row[0].lower()][measure]
            assert cell == f"{100 * mean(values):.1f}", (row[0], column)


def test_the_page_about_reliability_has_the_figures_of_the_load() -> None:
    load = json.loads((DOCS / "benchmarks" / "load.json").read_text(encoding="utf-8"))
    page = " ".join((DOCS / "reliability.md").read_text(encoding="utf-8").split())
    beyond = sorted(1e3 * (trip["request_s"] - trip["engine_s"]) for trip in load["trips"])
    assert f"took {median(beyond):.1f} ms more than the engine alone at the median" in page
    rates = {level["clients"]: f"{level['rate']:.1f}" for level in load["levels"]}
    assert f"1, 8 and 64 clients got {rates[1]}, {rates[8]} and {rates[64]} answers a second" in page
    assert f"After {load['memory'][-1]['requests']:,} requests" in page


def test_the_summary_of_benchmarks_has_the_figures_of_whole_languages(found: dict[str, Any]) -> None:
    regimes = found[MODELS["SmolLM2"]]["detection"][ALL]["regimes"]

    def auroc(regime: str, score: str) -> str:
        return f"{mean(regimes[regime][score]['auroc']):.3f}"

    said = (DOCS / "benchmarks" / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    three = [auroc("80 % in three", score) for score in ("agreement", "mean", "pcgrad")]
    assert "AUROC of {} on SmolLM2-135M-Instruct, the mean with {} and PCGrad with {};".format(*three) in said
    usual = [auroc(regime, score) for regime in ("20 % in all", "40 % in all") for score in ("agreement", "pcgrad")]
    assert "it costs: {} against {} with a fifth swapped, {} against {} with two fifths.".format(*usual) in said


def test_the_page_about_operations_has_the_memory_that_was_measured() -> None:
    page = json.loads((DOCS / "benchmarks" / "engine-small-cpu.json").read_text(encoding="utf-8"))
    arms = [arm for measured in page["measurements"] for arm in measured["arms"] if arm["label"].startswith("CONGRAD")]
    peaks = [arm["peak_mib"] for arm in arms]
    said = (DOCS / "operations.md").read_text(encoding="utf-8").replace("\n", " ")
    assert f"and {min(peaks):.0f} to {max(peaks):.0f} MiB" in said
