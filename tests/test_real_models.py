"""The measurements of `benchmarks/real_models.py`, on the checkpoint and the pairs that the package ships."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from congrad_worker.decisions.aggregation.aggregators import aggregator
from support.models import DEMO_CHECKPOINT
from support.pairs import demo_samples

from benchmarks.planted.scoring import ask, conflict, own_language_conflict, rules, unit_gradients
from benchmarks.planted.scoring import gradients as worker_gradients
from benchmarks.planted.statistics import paired_difference
from benchmarks.planted.training import BETA
from benchmarks.pretrained import arms, first_step, minority, other_pairs
from benchmarks.pretrained.detection import (
    AGGREGATORS,
    ALL,
    BALANCED,
    LENGTH,
    Evidence,
    all_detections,
    by_layers,
    detection,
    subsets,
)  # fmt: skip
from benchmarks.pretrained.evidence import ALL_LAYERS, ALPHA, SIGMOID, Gradients, gradients
from benchmarks.pretrained.minority import World
from benchmarks.pretrained.pairs import Pairs, read
from benchmarks.pretrained.parts import choices, pattern
from benchmarks.pretrained.regimes import EVERYWHERE, REGIMES, THREE, draw
from benchmarks.pretrained.report import RealModelsReport
from benchmarks.pretrained.rule import standings
from benchmarks.pretrained.scores import OWN, Inner, unit

pytestmark = pytest.mark.slow  # of a measurement, and of nothing that is served

LANGUAGES = ["de", "en", "es", "fr"]
DEMO_LAYERS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real-models")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Pairs:
    """Six pairs in each of four languages."""
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, demo_samples(*LANGUAGES))), encoding="utf-8")
    return read(path, DEMO_CHECKPOINT, LANGUAGES, 6)


@pytest.fixture(scope="module")
def found(folder: Path, pairs: Pairs) -> Gradients:
    return gradients(folder / "cache", DEMO_CHECKPOINT, pairs, with_cut=True)


@pytest.fixture(scope="module")
def evidence(pairs: Pairs, found: Gradients) -> Evidence:
    return Evidence.of(pairs, found)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Row by row."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray(np.einsum("nd,nd->n", first, second) / norms)


@pytest.mark.parametrize(
    ("loss", "layers", "options"),
    [
        (SIGMOID, ALL_LAYERS, {}),
        ("sigmoid_norm, simpo", ALL_LAYERS, {"loss": "sigmoid_norm"}),
        ("sigmoid_norm, simpo", ALL_LAYERS, {"loss": "simpo"}),
        (f"sigmoid, ld_alpha {ALPHA:g}", ALL_LAYERS, {"ld_alpha": ALPHA}),
        *((SIGMOID, layers, {"target_modules": pattern(layers, DEMO_LAYERS)}) for layers in choices(DEMO_LAYERS)),
    ],
)
def test_what_is_put_together_is_what_the_worker_computes(
    pairs: Pairs, found: Gradients, loss: str, layers: str, options: dict[str, object]
) -> None:
    worker = worker_gradients(DEMO_CHECKPOINT, pairs.texts, **options)
    assert cosines(found.of(loss, layers), worker.units.astype(np.float64)) == pytest.approx(1, abs=1e-4)


def test_a_second_run_computes_nothing(folder: Path, pairs: Pairs, found: Gradients) -> None:
    files = {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.npz")}
    again = gradients(folder / "cache", DEMO_CHECKPOINT, pairs, with_cut=True)
    assert {path: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.npz")} == files
    assert (again.chosen.units == found.chosen.units).all()


@pytest.mark.parametrize("name", ["mean", "pcgrad", "agreement"])
def test_scores_from_inner_products_are_those_of_the_decide_worker(pairs: Pairs, evidence: Evidence, name: str) -> None:
    samples = unit_gradients(worker_gradients(DEMO_CHECKPOINT, pairs.texts))
    inner = Inner.of(unit(evidence.grams[SIGMOID, ALL_LAYERS]), pairs.languages)
    assert inner.by(name) == pytest.approx(conflict(ask(samples, rules(aggregator(name)))), abs=2e-3)
    assert inner.by(OWN) == pytest.approx(own_language_conflict(samples), abs=2e-3)


def test_a_regime_swaps_its_share_in_its_languages() -> None:
    languages = np.repeat(list("abcdefgh"), 10)
    for regime in REGIMES:
        drawn = draw(regime, languages, 3)
        assert len(set(languages[drawn.chosen])) == regime.languages
        for tag in np.unique(languages):
            own = languages == tag
            share = regime.there if drawn.chosen[own].all() else regime.elsewhere
            assert drawn.wrong[own].mean() == pytest.approx(share)
    assert (draw(THREE, languages, 3).wrong == draw(THREE, languages, 3).wrong).all()
    assert (draw(THREE, languages, 3).wrong != draw(THREE, languages, 4).wrong).any()


def test_balanced_pairs_are_as_often_longer_as_shorter(evidence: Evidence) -> None:
    rows = subsets(evidence)[BALANCED]
    ratios, languages = evidence.ratios[rows], evidence.pairs.languages[rows]
    for tag in np.unique(languages):
        assert (ratios[languages == tag] > 0).sum() * 2 == (languages == tag).sum()


def world(size: int, strength: float = 1.0) -> World:
    """Eight languages with twelve pairs each, whose gradients share a direction."""
    random = np.random.default_rng(size)
    gradients = random.standard_normal((96, 400)) + strength * random.standard_normal(400)
    return World(gradients @ gradients.T, np.repeat(list("abcdefgh"), 12), np.tile(np.arange(12), 8), np.ones(96))


def mean_of(values: Sequence[float]) -> float:
    return float(np.mean(values))


def test_of_a_minority_the_majority_keeps_its_own(evidence: Evidence) -> None:
    found = minority.outcomes(world(2), 2, 5)
    for name in ("mean", "agreement"):
        assert mean_of(found[name]["majority's kept"]) > 0.95
        assert mean_of(found[name]["own pairs kept"]) < 0.05
        assert mean_of(found[name]["majority learns"]) > 0.95 > 0.05 > mean_of(found[name]["minority learns"])
    assert mean_of(found["all"]["own pairs kept"]) == 1
    short = minority.by_length(evidence, 0.1)
    assert (np.sign(short.right) == np.sign(evidence.ratios[np.abs(evidence.ratios) > 0.1])).all()


def test_a_step_along_clean_labels_is_right_more_often_than_along_those_that_were_swapped(evidence: Evidence) -> None:
    found = first_step.outcomes(evidence, EVERYWHERE, 5)
    assert mean_of(found[arms.ORACLE][first_step.ACCURACY]) >= mean_of(found[arms.ALL][first_step.ACCURACY])
    assert mean_of(found[arms.ORACLE][first_step.WRONG]) == 0


def test_steps_of_the_linearised_model_are_those_of_dpo_on_a_linear_one() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((12, 30))  # gradients of margins: what a linear model has everywhere
    kept, held = features[:8], features[8:]
    rate = first_step.steady_rate(kept @ kept.T)
    weights = torch.zeros(30, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([weights], rate)
    for _ in range(first_step.STEPS):
        loss = -torch.nn.functional.logsigmoid(BETA * torch.tensor(kept) @ weights).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    found = first_step.margins(held @ kept.T, kept @ kept.T, rate)
    assert found == pytest.approx(held @ weights.detach().numpy())


def test_intervals_over_prompts_are_wider_than_those_over_draws(evidence: Evidence) -> None:
    found = other_pairs.difference(evidence, "agreement", "pcgrad", EVERYWHERE, 5)
    rows = np.arange(len(evidence.pairs.encoded))
    figures = detection(evidence, rows, EVERYWHERE, 5)
    draws = paired_difference(figures["agreement"]["auroc"], figures["pcgrad"]["auroc"])
    assert found.mean == pytest.approx(draws.mean)
    assert found.high - found.low > draws.high - draws.low


def test_of_aggregators_that_may_be_the_default_the_worst_regime_decides() -> None:
    def regimes(usual: float, worst: float, others: float) -> dict[str, Any]:
        of = dict.fromkeys((regime.name for regime in REGIMES), others) | {EVERYWHERE.name: usual, THREE.name: worst}
        return {name: {"auroc": [value]} for name, value in of.items()}

    figures = dict.fromkeys(AGGREGATORS, regimes(0.90, 0.50, 0.9))
    figures |= {
        "mean": regimes(0.90, 0.70, 0.7),
        "mgda": regimes(0.90, 0.698, 0.8),
        "agreement": regimes(0.8, 0.9, 0.9),
    }
    by = {name: {one: figures[one][name] for one in AGGREGATORS} for name in regimes(0, 0, 0)}
    found = {"demo": {"detection": {ALL: {"regimes": by}}}}
    names = [one.name for one in standings(found)]
    # Even in the worst regime, and better in the mean; then by the worst; last what pays for it in the usual one.
    assert (names[:2], names[-1]) == (["mgda", "mean"], "agreement")


def test_a_report_has_every_table_with_a_cell_for_each_column(evidence: Evidence, tmp_path: Path) -> None:
    of: dict[str, Any] = {
        "pairs": {"de": 6},
        "detection": all_detections(evidence, 3),
        "over_prompts": {regime.name: {"mean": 0.1, "low": 0.0, "high": 0.2, "p": None} for regime in REGIMES},
        "first_step": {regime.name: first_step.outcomes(evidence, regime, 3) for regime in (EVERYWHERE, THREE)},
        "layers": by_layers(evidence, 3),
        "losses": by_layers(evidence, 3),
        "minority": {"opposite": {"2": minority.outcomes(world(2), 2, 3)}},
        "fidelity": [{"rank": 64, "dim": 4096, "scores": 0.9, "cosines": 0.8}],
    }
    assert set(of["detection"][ALL]["regimes"][EVERYWHERE.name]) > {LENGTH, "agreement"}
    data, page = RealModelsReport({"command": "x"}, {"demo": of}).write(tmp_path, "page")
    assert json.loads(data.read_text(encoding="utf-8"))["found"].keys() == {"demo"}
    lines = page.read_text(encoding="utf-8").splitlines()
    for rule in (i for i, line in enumerate(lines) if line.startswith("| ---")):
        assert lines[rule - 1].count("|") == lines[rule].count("|") == lines[rule + 1].count("|")
